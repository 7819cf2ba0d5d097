"""What the queue's calls take and give back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from penstock.queue.names import PRIORITIES, split_name
from penstock.queue.record import Record, decode

CRITICAL = PRIORITIES.index("critical")

DEFAULT_ITEMS = 1_000_000
DEFAULT_BYTES = 1024**3
DEFAULT_DEAD_BYTES = 256 * 1024**2


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a write failed last. ``message`` names neither payload nor secret."""

    error_class: str
    code: str
    http_status: int | None
    message: str


class Outcome(StrEnum):
    """What became of one claimed write, as the worker saw it."""

    STORED = "s"
    RETRY = "r"
    RETRY_UNKNOWN = "u"  # the request may have been applied, or may be yet (rule UNK)
    RETRY_ENVIRONMENT = "e"  # the environment's fault, unless others are stored there: the queue decides
    DEAD = "d"
    NEVER_SENT = "g"
    MAYBE_SENT = "b"
    OVERTAKEN = "o"  # not sent: the object is of a newer write, which Redis has forgotten (rule EPOCH)


class Settled(StrEnum):
    """What the queue made of it."""

    STORED = "s"
    REPAIRED = "R"  # stored once more, because an older request had landed over it
    DELAYED = "r"
    DEAD = "d"
    PARKED = "p"
    READY = "g"
    SUPERSEDED = "u"
    LEASE_LOST = "l"


class Settlement(msgspec.Struct, frozen=True):
    """How one write's claim ends. ``delay`` in seconds; ``counted`` False takes the attempt back."""

    name: bytes
    outcome: Outcome
    counted: bool = True
    delay: float = 0.0
    failure: Failure | None = None


class Claimed(msgspec.Struct, frozen=True):
    """A claimed write. ``data`` is its record; decoded by ``record()``, on the thread that works on it."""

    name: bytes
    seq: int
    since: int
    priority: int
    attempts: int
    is_delete: bool
    size: int
    tenant: bytes
    data: bytes
    swept: bool = False
    """Its claim was taken back from a worker once: no other claim may stand beside this one (rule ALONE)."""

    def __repr__(self) -> str:
        return f"Claimed({self.name!r}, seq={self.seq})"  # never the record, which holds the body

    @property
    def bucket(self) -> str:
        return split_name(self.name)[0]

    @property
    def key(self) -> str:
        return split_name(self.name)[1]

    def record(self) -> Record:
        return decode(self.data)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one token holds."""

    token: str
    writes: list[Claimed] = field(repr=False)
    epoch: int = 0
    """Writes with a lower number were accepted before Redis lost its last steps (rule EPOCH)."""

    @property
    def size(self) -> int:
        """Bytes of records and large bodies."""
        return sum([write.size for write in self.writes])

    @property
    def alone(self) -> bool:
        """Whether no other claim may stand beside it in its process (rule ALONE)."""
        return any(write.swept for write in self.writes)

    @property
    def critical(self) -> bool:
        """Whether it is of critical writes, which share a batch with no others."""
        return any(write.priority == CRITICAL for write in self.writes)


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """``wait``: seconds until something is due, None when nothing waits.

    ``newer_wire``: writes that were left to newer workers.
    ``missing``: writes whose record is gone, because Redis evicted it: they are lost.
    ``alone``: a write waits for a process that holds no claim (rule ALONE).
    ``suspended``: how many buckets are.
    ``epoch``: the number below which writes were accepted before the last epoch began, 0 when there was none;
    ``epoch_left``: seconds for which it goes on marking what is claimed (rule EPOCH).
    ``needs``: bytes of the write whose turn it was and that did not fit the caller's budget; 0 when all did.
    """

    wait: float | None
    newer_wire: int
    missing: int
    alone: bool
    suspended: int
    batches: list[Batch]
    epoch: int
    epoch_left: float
    needs: int


@dataclass(frozen=True, slots=True)
class Swept:
    """``wait``: seconds until the next lease ends or retry is due, None when there is none."""

    wait: float | None
    due: int
    taken_back: int
    dead: int
    more: bool


@dataclass(frozen=True, slots=True)
class Limits:
    items: int
    bytes: int
    dead_bytes: int


@dataclass(frozen=True, slots=True)
class Block:
    """Why claims leave a bucket, a tenant of it, or (bucket None) the whole queue alone; one reason of several."""

    bucket: str | None
    tenant: str | None
    reason: str
    since: datetime
    note: str


@dataclass(frozen=True, slots=True)
class Suspension:
    """A bucket whose destination is broken for all workers; what broke it, and when it is tried next."""

    bucket: str
    since: datetime
    next_probe: datetime
    probes: int
    error_class: str
    code: str
    http_status: int | None


@dataclass(frozen=True, slots=True)
class Stats:
    """The queue at one moment. Ages in seconds; per-priority numbers by the priority's name."""

    queue: str
    now: float
    shards: int
    """How many the queue has; 0 while the number is being changed, and producers wait."""
    paused: bool
    ready: dict[str, int]
    delayed: int
    inflight: int
    parked: int
    dead: int
    contested: int
    items: int
    bytes: int
    dead_bytes: int
    oldest_age: dict[str, float | None]
    limits: Limits
    accepted: dict[str, int]
    coalesced: dict[str, int]
    rejected: dict[str, int]
    blocks: list[Block]
    suspended: list[Suspension]
    set_aside: int
    """Those of ``ready`` that claims leave alone: their flow was met while it was blocked."""
    epoch_left: float = 0.0
    """Seconds for which claims go on marking what they take, because Redis may have lost its last steps (EPOCH)."""

    @property
    def unfinished(self) -> int:
        """Writes that are ready, delayed or in flight."""
        return sum(self.ready.values()) + self.delayed + self.inflight


@dataclass(frozen=True, slots=True)
class DeadLetter:
    bucket: str
    key: str
    seq: int
    operation: str
    priority: str
    tenant: str
    attempts: int
    failure: Failure
    accepted_at: datetime
    died_at: datetime
    size: int
    imported: bool
