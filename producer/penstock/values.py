"""What applications handle: a write and a receipt, and the defaults of a producer. Cheap to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing_extensions import Buffer as Buffer  # in the standard library from Python 3.12 on

    from penstock.queue.results import Failure
else:
    Buffer = bytes | bytearray | memoryview

DEFAULT_URL = "redis://localhost:6379/0"
DEFAULT_QUEUE = "default"
DEFAULT_TIMEOUT = 2.0
"""Seconds."""
DEFAULT_DURABILITY = "memory"
DEFAULT_MAX_BODY_BYTES = 16 * 1024 * 1024
DEFAULT_SPOOL_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write for ``Producer.put_many``; the fields are those of ``Producer.put``.

    Raises nothing itself: it is validated when it is put.
    """

    key: str
    body: Buffer = field(repr=False)
    bucket: str | None = None
    priority: str | None = None
    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    storage_class: str | None = None
    tags: Mapping[str, str] | None = None
    metadata: Mapping[str, str] | None = None
    tenant: str = ""
    compression: str = "zstd"
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted write.

    Attributes:
        seq: its sequence number; of two writes of a key the greater wins. 0 of a spooled one, which gets its number
            when it is replayed.
        coalesced: it took the place of a waiting write of its key, which will not be uploaded any more.
        spooled: it lies in the producer's local spool, because Redis was away.
        bucket, key: its name.
    """

    seq: int
    coalesced: bool
    spooled: bool = False
    bucket: str = ""
    key: str = ""


Outcome = Literal["stored", "superseded", "dead", "purged", "forgotten"]


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How an accepted write ended.

    Attributes:
        outcome: ``stored``: the object was written, or deleted for a delete. ``superseded``: it was not, because a
            newer write of its key was accepted, which counts. ``dead``: it failed for good and stands in the
            dead-letter queue. ``purged``: an operator removed it. ``forgotten``: it is over, and the queue does not say
            how: it remembers about the last 5,000 batches, and nothing that Redis has lost.
        failure: of a dead one, why: ``.error_class``, ``.code``, ``.http_status`` (or None) and ``.message``.
    """

    outcome: Outcome
    failure: Failure | None = None
