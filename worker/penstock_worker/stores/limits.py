"""Time limits that grow with the size of a body.

Both engines fix their time limits when a client is made, so bodies are sorted into a few size classes, each
with clients of its own, and a request gets the limit of the largest body of its class.
"""

from __future__ import annotations

from bisect import bisect_left

from penstock_worker.stores.base import CONNECT_SECONDS, LOOK_UP_SECONDS, StoreConfig

MIB = 1024 * 1024
CLASS_BOUNDS = (MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB, 5 * 1024 * MIB)
"""Largest body of each class in bytes. Steps of four keep the classes few and a limit at most four times too
long; the last one is S3's limit for one PUT. A larger body is in the last class too: S3 refuses it."""


def size_class(size: int) -> int:
    """The index in `CLASS_BOUNDS` for a body of ``size`` bytes."""
    return min(bisect_left(CLASS_BOUNDS, size), len(CLASS_BOUNDS) - 1)


def transfer_seconds(config: StoreConfig, size_class: int) -> float:
    """What the largest body of the class takes at the slowest rate that is put up with."""
    return CLASS_BOUNDS[size_class] / config.min_bytes_per_second


def request_seconds(config: StoreConfig, size_class: int) -> float:
    """The time limit for one request of the class."""
    return config.request_timeout + transfer_seconds(config, size_class)


def look_seconds(config: StoreConfig) -> float:
    """The longest that a look at an object takes, by either engine.

    Credentials may have to be looked up. An answer that obstore cannot read has boto3 look again, which connects and
    waits by a limit each.
    """
    connecting = CONNECT_SECONDS + transfer_seconds(config, 0)
    return LOOK_UP_SECONDS + connecting + 2 * request_seconds(config, 0)
