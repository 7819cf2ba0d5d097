"""The workers of a queue: each beats every few seconds and tells of itself; who asks sees which of them are alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import msgspec

from penstock.queue.client import Queue
from penstock.queue.live import Live
from penstock.queue.sharded import AnyQueue

BEAT_SECONDS = 3.0
"""Between two beats of a worker: soon enough for who watches, and hardly felt by Redis."""

ALIVE_SECONDS = 3 * BEAT_SECONDS
"""Silent for longer, a worker is not alive: two beats may be lost or late."""

REMEMBERED_SECONDS = 3600.0
"""Silent for longer, it is forgotten by whoever beats next. Until then one sees that it was there and died."""

State = Literal["running", "unfit", "stopping"]
"""``unfit``: it claims nothing now, because its clock is wrong."""


class Rate(msgspec.Struct, frozen=True):
    """Writes stored (deletes among them) and their bytes as sent, within the last ``seconds``, about ten."""

    seconds: float = 0.0
    writes: int = 0
    bytes: int = 0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells of itself. Fields may be added, each with a default; none changes its meaning.

    Attributes:
        state_seconds: how long it has been in this state.
        up_seconds: how long it has been running.
        in_flight: writes it holds, in ``claims`` claims.
        lease_left: seconds that the shortest of their leases still has; None without a claim.
        slots: requests to S3 it may have under way at once, to all buckets.
        concurrency: by bucket that was used lately, how many of these it may have at present.
        stored: writes it has stored since its start, deletes among them; ``stored_bytes`` are theirs as sent.
        latency: by priority, from accept to stored, of the last minute: (bucket's upper bound in seconds, writes).
        errors: S3's of the last minute: (class, code, how many). The codes are from a closed list.
    """

    host: str = "?"
    pid: int = 0
    version: str = "?"
    engine: str = "?"
    state: State = "running"
    state_seconds: float = 0.0
    up_seconds: float = 0.0
    in_flight: int = 0
    claims: int = 0
    lease_left: float | None = None
    slots: int = 0
    concurrency: dict[str, int] = {}
    stored: int = 0
    stored_bytes: int = 0
    rate: Rate = Rate()
    latency: dict[str, list[tuple[float, int]]] = {}
    errors: list[tuple[str, str, int]] = []


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker as it last told, ``age`` seconds ago. ``beaten_at`` is by Redis's clock.

    ``facts`` are the defaults when a Penstock wrote them that this one does not understand.
    """

    id: str
    facts: Facts
    age: float
    beaten_at: datetime

    @property
    def is_alive(self) -> bool:
        return self.age <= ALIVE_SECONDS

    @property
    def started_at(self) -> datetime:
        """By Redis's clock."""
        return self.beaten_at - timedelta(seconds=self.facts.up_seconds)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Facts).decode


def beat(queue: Queue, worker_id: str, facts: Facts) -> Live:
    """Tells that the worker is alive. One round trip; of silent workers some are forgotten in it."""
    answer: list[bytes | None] = queue.run("beat", worker_id, _encode(facts), int(REMEMBERED_SECONDS * 1e6))
    return Live.parse(*answer)


def seen(queue: AnyQueue, *, within: float = REMEMBERED_SECONDS) -> list[WorkerSeen]:
    """Workers that have beaten within so many seconds, at most 1,000, the latest first. Two round trips."""
    first = queue.shards[0]  # a worker tells all of them the same
    now, found = first.run("workers", int(within * 1e6))
    ids: list[bytes] = found[::2]
    if not ids:
        return []
    facts = cast("list[bytes | None]", first.client.hmget(first.prefix + "workers", cast("list[str]", ids)))
    return [
        _seen(int(now), worker_id, beaten_at, packed)
        for worker_id, beaten_at, packed in zip(ids, found[1::2], facts, strict=True)
        if packed is not None  # it has stopped meanwhile
    ]


def alive(queue: AnyQueue) -> list[WorkerSeen]:
    """Workers that are alive, the latest first. Two round trips."""
    return seen(queue, within=ALIVE_SECONDS)


def forget(queue: Queue, worker_id: str) -> None:
    """Takes a worker that stops in order off the list. It must not beat any more."""
    with cast("Any", queue.client).pipeline(transaction=True) as pipe:
        pipe.zrem(queue.prefix + "worker", worker_id)
        pipe.hdel(queue.prefix + "workers", worker_id)
        pipe.execute()


def _seen(now: int, worker_id: bytes, beaten: bytes, packed: bytes) -> WorkerSeen:
    at = int(float(beaten))
    try:
        facts = _decode(packed)
    except msgspec.DecodeError:  # of a newer version
        facts = Facts()
    return WorkerSeen(worker_id.decode(), facts, max(0, now - at) / 1e6, datetime.fromtimestamp(at / 1e6, UTC))
