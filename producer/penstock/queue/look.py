"""Looking at single writes in the queue, in bounded steps and without their bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from struct import Struct
from typing import Any

import msgspec

from penstock.queue.names import PRIORITIES, join_name, split_name
from penstock.queue.record import FLAG_DELETE, Header, decode
from penstock.queue.results import Failure
from penstock.queue.sharded import AnyQueue

PAGE = 50
"""Writes one call reads. Inside Redis their records come along, bodies of up to 64 KiB included: a few megabytes."""

_HEAD = Struct(">BQ7sBB")
_STATE = Struct(">Q7sBBBBI")
_NEWER = 1
_DELETE = 2
_FIELDS = 8


class State(StrEnum):
    """Where a write is. CONTESTED: nowhere, its name is idle and only marked; as a filter, whatever is marked."""

    READY = "ready"
    DELAYED = "delayed"
    INFLIGHT = "inflight"
    CONTESTED = "contested"
    PARKED = "parked"


# By the scripts' numbers, from 1. The last one waits apart, see scripts/include/alone.lua.
_STATES = (State.READY, State.DELAYED, State.INFLIGHT, State.PARKED, State.READY)


@dataclass(frozen=True, slots=True)
class Entry:
    """A write in the queue. ``size`` is what it counts against the limits; ``due_at`` only of a delayed one.

    ``waiting_seq``: the number of a newer write of the key that waits until this one is out of flight.
    ``looks_at``: when the guard looks at the object next; None when the name is not contested.

    Of an idle contested name the entry is about the write that is retained; without one, all that tells of a write is
    None.
    """

    bucket: str
    key: str
    seq: int | None
    waiting_seq: int | None
    operation: str | None
    state: State
    priority: str | None
    tenant: str | None
    attempts: int
    size: int | None
    accepted_at: datetime | None
    due_at: datetime | None
    looks_at: datetime | None
    failure: Failure | None

    @property
    def contested(self) -> bool:
        """Whether an old request may still land on the object."""
        return self.looks_at is not None


@dataclass(frozen=True, slots=True)
class Details:
    """A write and what goes along with its body.

    ``header`` and ``sha256`` are None when a newer Penstock wrote it, or when nothing is retained.

    With a newer write waiting, header, hash and size of the body are that one's: the queue keeps no other.
    """

    entry: Entry
    header: Header | None
    sha256: str | None
    body_size: int | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which writes; None means any."""

    state: State | None = None
    priority: str | None = None
    bucket: str | None = None
    tenant: str | None = None
    prefix: str | None = None

    def matches(self, entry: Entry) -> bool:
        return (
            (self.state in (None, entry.state) or (self.state is State.CONTESTED and entry.contested))
            and self.priority in (None, entry.priority)
            and self.bucket in (None, entry.bucket)
            and self.tenant in (None, entry.tenant)
            and entry.key.startswith(self.prefix or "")
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: in which of a filter's sources in which shard, and the script's cursor in there."""

    source: int = 0
    cursor: bytes = b"0"
    shard: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """What matches of one step. ``after`` None: there is no further page."""

    at: Place
    entries: list[Entry]
    after: Place | None


def pages(queue: AnyQueue, where: Filter, *, whole: bool = False, page: int = PAGE) -> Iterator[list[Entry]]:
    """The entries of `steps` from the first one on; a page may be empty."""
    for step in steps(queue, where, whole=whole, page=page):
        yield step.entries


def steps(
    queue: AnyQueue, where: Filter, *, whole: bool = False, page: int = PAGE, at: Place | None = None
) -> Iterator[Page]:
    """What matches, page by page. Each step is one round trip of bounded work. ``at``: not from the beginning.

    Delayed writes come by due time, parked ones by age (of many, those that found no room last), contested names by the
    guard's next look, and the ready writes of one tenant of one bucket by priority and age, those at the end that a
    crash has set apart. Everything else comes in no order, a write perhaps twice, and takes a look at every write in
    the queue. Shard follows shard, so that with several of them there is order within each alone.

    Idle contested names come only when the filter asks for contested ones.

    Args:
        whole: what is in the queue from the first step to the last is seen for certain, at the price of the order; for
            those who change the queue meanwhile. No idle names.
    """
    sources = _sources(where, whole)
    place: Place | None = at or Place()
    while place is not None and place.source < len(sources) and place.shard < len(queue.shards):
        source, before = sources[place.source]
        reply = queue.shards[place.shard].run("list", source, place.cursor, page, *before)
        after: Place | None = Place(place.source, reply[0], place.shard)
        if reply[0] == b"0" and place.source + 1 < len(sources):
            after = Place(place.source + 1, shard=place.shard)
        elif reply[0] == b"0":
            after = Place(shard=place.shard + 1) if place.shard + 1 < len(queue.shards) else None
        yield Page(place, [entry for entry in _entries(reply) if where.matches(entry)], after)
        place = after


def find(queue: AnyQueue, bucket: str, key: str) -> Details | None:
    """One write, or what is known of an idle contested name; None when there is neither."""
    reply = queue.of(bucket, key).run("list", "names", "0", 1, join_name(bucket, key))
    if len(reply) == 1:
        return None
    (entry,) = _entries(reply)
    frame, length = reply[2], reply[3]
    if not frame:
        return Details(entry, None, None, None)
    try:
        record = decode(frame)
    except ValueError:  # of a newer wire version
        return Details(entry, None, None, None)
    size = record.body_size if record.blob_id is not None else length - len(frame)
    return Details(entry, record.header, record.sha256.hex(), size)


def peek(queue: AnyQueue, bucket: str, key: str, most: int) -> tuple[bytes, int] | None:
    """The first bytes of the newest write's body, as it was put, and the whole body's length; None without a write."""
    found, size = queue.of(bucket, key).run("peek", join_name(bucket, key), most)
    return None if found is None else (found, size)


def _sources(where: Filter, whole: bool) -> list[tuple[str, tuple[str, ...]]]:
    if whole:
        return [("write" if where.state in (None, State.READY, State.CONTESTED) else "state", ())]
    if where.state is State.READY and where.bucket is not None and where.tenant is not None:
        wanted = [number for number, name in enumerate(PRIORITIES) if where.priority in (None, name)]
        flow = f"{where.bucket}/{where.tenant}"
        lanes = [(f"lane:{number}:{flow}", (f"{where.bucket}/",)) for number in wanted]
        return [*lanes, ("alone", ("",))]
    by_state = {
        State.DELAYED: "due",
        State.PARKED: "parked",
        State.INFLIGHT: "lease",
        State.CONTESTED: "contested",
    }
    return [("write" if where.state is None else by_state.get(where.state, "write"), ())]


def _entries(reply: Sequence[Any]) -> list[Entry]:
    return [_entry(*reply[at : at + _FIELDS]) for at in range(1, len(reply), _FIELDS)]


def _entry(
    name: bytes, frame: bytes, length: int, history: bytes, failure: bytes, due: bytes, look: bytes, idle: int
) -> Entry:
    bucket, key = split_name(name)
    looks_at = _time(float(look)) if look else None
    if not frame:
        nothing = dict.fromkeys(("seq", "waiting_seq", "operation", "priority", "tenant", "size", "accepted_at"))
        return Entry(
            bucket, key, **nothing, state=State.CONTESTED, attempts=0, due_at=None, looks_at=looks_at, failure=None
        )
    _, seq, since, priority, flags = _HEAD.unpack_from(frame)
    at = _HEAD.size + 1 + frame[_HEAD.size]
    tenant = frame[_HEAD.size + 1 : at]
    size = length - _HEAD.size
    if flags & 2:  # a large body: its id, and its size in four bytes
        at += 1 + frame[at]
        size += int.from_bytes(frame[at : at + 4])
    is_delete = bool(flags & FLAG_DELETE)
    waiting, state, attempts = None, State.CONTESTED if idle else State.READY, 0
    if history:
        newest = seq
        seq, since, status, priority, attempts, bits, size = _STATE.unpack_from(history)
        tenant, state, is_delete = history[_STATE.size :], _STATES[status - 1], bool(bits & _DELETE)
        waiting = newest if bits & _NEWER else None
    return Entry(
        bucket=bucket,
        key=key,
        seq=seq,
        waiting_seq=waiting,
        operation="delete" if is_delete else "put",
        state=state,
        priority=PRIORITIES[priority],
        tenant=tenant.decode(),
        attempts=attempts,
        size=size,
        accepted_at=_time(int.from_bytes(since)),
        due_at=_time(float(due)) if due else None,
        looks_at=looks_at,
        failure=msgspec.msgpack.decode(failure, type=Failure) if failure else None,
    )


def _time(micros: float) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)
