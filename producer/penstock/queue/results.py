"""What the queue's calls take and give back, and how it is read out of the scripts' answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from struct import Struct
from typing import Any

import msgspec

from penstock.queue.names import PRIORITIES, split_name
from penstock.queue.record import Record, decode

DEFAULT_ITEMS = 1_000_000
DEFAULT_BYTES = 1024**3
DEFAULT_DEAD_BYTES = 256 * 1024**2

# A flag in a name's history, not in a record: see scripts/include/state.lua.
_STATE_DELETE = 2
# A dead letter's only: see scripts/include/dead.lua.
_IMPORTED = 128
_STATE = Struct(">Q7sBBBBI")
_DEAD = Struct(">7s7sBBBIH")
_decode_reasons = msgspec.msgpack.Decoder(dict[str, tuple[int, str]]).decode


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
    DEAD = "d"
    NEVER_SENT = "g"
    MAYBE_SENT = "b"


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


@dataclass(frozen=True, slots=True)
class Settlement:
    """How one write's claim ends. ``delay`` in seconds; ``counted`` False takes the attempt back."""

    name: bytes
    outcome: Outcome
    counted: bool = True
    delay: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claimed write. ``data`` is its record; decoded by ``record()``, on the thread that works on it."""

    name: bytes
    seq: int
    since: int
    priority: int
    attempts: int
    is_delete: bool
    size: int
    tenant: bytes
    data: bytes = field(repr=False)

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

    @property
    def size(self) -> int:
        """Bytes of records and large bodies."""
        return sum([write.size for write in self.writes])


@dataclass(frozen=True, slots=True)
class ClaimReply:
    """``wait``: seconds until something is due, None when nothing waits.

    ``newer_wire``: writes that were left to newer workers.
    ``missing``: writes whose record is gone, because Redis evicted it: they are lost.
    """

    wait: float | None
    newer_wire: int
    missing: int
    batches: list[Batch]


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
class Stats:
    """The queue at one moment. Ages in seconds; per-priority numbers by the priority's name."""

    queue: str
    now: float
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
    set_aside: int
    """Those of ``ready`` that claims leave alone: their flow was met while it was blocked."""

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


def parse_batch(raw: Sequence[Any]) -> Batch:
    writes = []
    for at in range(1, len(raw), 3):
        state: bytes = raw[at + 1]
        seq, since, _, priority, attempts, flags, size = _STATE.unpack_from(state)
        writes.append(
            Claimed(
                raw[at],
                seq,
                int.from_bytes(since),
                priority,
                attempts,
                bool(flags & _STATE_DELETE),
                size,
                state[_STATE.size :],
                raw[at + 2],
            )
        )
    return Batch(raw[0].decode(), writes)


def parse_stats(queue: str, raw: Sequence[Any]) -> Stats:
    now = int(raw[0])
    meta = _pairs(raw[1])
    count = {name: int(value) for name, value in _pairs(raw[2]).items()}

    def each(prefix: str) -> dict[str, int]:
        return {name: count.get(f"{prefix}{number}", 0) for number, name in enumerate(PRIORITIES)}

    return Stats(
        queue=queue,
        now=now / 1e6,
        paused="paused" in meta,
        ready=each("r"),
        delayed=count.get("delayed", 0),
        inflight=count.get("inflight", 0),
        parked=count.get("parked", 0),
        dead=count.get("dead", 0),
        contested=count.get("contested", 0),
        items=count.get("items", 0),
        bytes=count.get("bytes", 0),
        dead_bytes=count.get("dead_bytes", 0),
        oldest_age={
            name: None if head is None else max(0.0, (now - int(head)) / 1e6)
            for name, head in zip(PRIORITIES, raw[3:7], strict=True)
        },
        limits=Limits(
            int(meta.get("items", DEFAULT_ITEMS)),
            int(meta.get("bytes", DEFAULT_BYTES)),
            int(meta.get("dead_bytes", DEFAULT_DEAD_BYTES)),
        ),
        accepted=each("acc"),
        coalesced=each("coa"),
        rejected={reason: count.get(f"rejected_{reason}", 0) for reason in ("items", "bytes", "body")},
        blocks=_blocks(raw[7]),
        set_aside=sum(each("a").values()),
    )


def parse_dead(seq: bytes, info: bytes) -> DeadLetter:
    since, died, priority, attempts, flags, size, length = _DEAD.unpack_from(info)
    at = _DEAD.size
    bucket, key = split_name(info[at : at + length])
    at += length
    tenant = info[at + 1 : at + 1 + info[at]].decode()
    at += 1 + info[at]
    return DeadLetter(
        bucket=bucket,
        key=key,
        seq=int.from_bytes(seq),
        operation="delete" if flags & _STATE_DELETE else "put",
        priority=PRIORITIES[priority],
        tenant=tenant,
        attempts=attempts,
        failure=msgspec.msgpack.decode(info[at:], type=Failure),
        accepted_at=_time(since),
        died_at=_time(died),
        size=size,
        imported=bool(flags & _IMPORTED),
    )


def _blocks(flat: Sequence[bytes]) -> list[Block]:
    found = []
    for subject, packed in zip(flat[::2], flat[1::2], strict=True):
        bucket, slash, tenant = subject.decode().partition("/")
        for reason, (since, note) in _decode_reasons(packed).items():
            at = datetime.fromtimestamp(since / 1e6, UTC)
            found.append(Block(bucket or None, tenant if slash else None, reason, at, note))
    return sorted(found, key=lambda block: (block.bucket or "", block.tenant or "", block.reason))


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    return {flat[at].decode(): flat[at + 1].decode() for at in range(0, len(flat), 2)}


def _time(micros: bytes) -> datetime:
    return datetime.fromtimestamp(int.from_bytes(micros) / 1e6, UTC)
