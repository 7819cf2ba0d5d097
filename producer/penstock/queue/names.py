"""Names: of a queue's keys in Redis, and of a write, which is its bucket and key."""

from __future__ import annotations

import binascii
import itertools
import zlib
from functools import cache

LAYOUT_VERSION = 2

MAX_SHARDS = 32
"""A worker has eight threads and some connections for each."""

_SLOTS = 16384
_TOLERANCE = _SLOTS // 1024

PRIORITIES = ("critical", "high", "normal", "low")
"""In the order in which they go first; a priority's number is its place here."""


@cache
def key_prefix(queue: str, shard: int = 0, shards: int = 1) -> str:
    """What every key of shard ``shard`` of ``shards`` begins with. The braces make it one slot of a Redis Cluster.

    Shard 0 is the same whatever their number, so that whoever knows only the queue's name finds out there. The others
    are spread evenly over the ring of slots, from shard 0 on: masters with equal parts of the ring have equally many.
    """
    if shard == 0:
        return f"penstock:{{{queue}:0}}:"
    target = (_slot(f"{queue}:0") + shard * _SLOTS // shards) % _SLOTS
    for number in itertools.count():
        tag = f"{queue}:{shard}of{shards}-{number}"
        if (_slot(tag) - target + _TOLERANCE) % _SLOTS <= 2 * _TOLERANCE:
            return f"penstock:{{{tag}}}:"
    raise AssertionError("unreachable")


def _slot(tag: str) -> int:
    """The slot of a hash tag (Redis Cluster specification, "Key distribution model")."""
    return binascii.crc_hqx(tag.encode(), 0) % _SLOTS


def shard_of(name: bytes, shards: int) -> int:
    """Which shard holds a name. Every producer and every command must agree on it, so it never changes."""
    return zlib.crc32(name) % shards


def script_keys(prefix: str) -> tuple[str, str]:
    """What each script call names: the meta key, of which the script makes the others, and one that never exists.

    The second is for Redis Cluster. While a slot moves from node to node, key by key, a script that names one key runs
    wherever that one is, and fails in its middle at a key that is elsewhere. One that names two of which one is not
    there is refused before it begins (TRYAGAIN or ASK), from the first step of the move to the last.
    """
    return f"{prefix}meta", f"{prefix}absent"


def join_name(bucket: str, key: str) -> str:
    """A bucket's name holds no slash, so the first one parts it from the key."""
    return f"{bucket}/{key}"


def split_name(name: bytes) -> tuple[str, str]:
    bucket, _, key = name.decode().partition("/")
    return bucket, key
