"""Contested names for tests: how a mark is made, and the guard's part without a guard."""

from __future__ import annotations

from penstock.queue.contested import STEP, Contested, Judged, Verdict, due, judge
from penstock.queue.results import Batch, Outcome, Settled
from tests.support.queue import ShiftedQueue

HOLD, BUSY, RECHECK = 60.0, 5.0, 5.0


def contested(queue: ShiftedQueue) -> int:
    return queue.stats().contested


def looks(queue: ShiftedQueue, limit: int = STEP) -> list[Contested]:
    return due(queue.queue, hold=HOLD, busy=BUSY, limit=limit).names


def verdict(queue: ShiftedQueue, one: Contested, verdict: Verdict) -> Judged:
    (answer,) = judge(queue.queue, [(one, verdict)], recheck=RECHECK)
    return answer


def unknown(queue: ShiftedQueue, batch: Batch, **options: float) -> list[Settled]:
    return queue.settle(batch, Outcome.RETRY_UNKNOWN, delay=options.get("delay", 0))


def stored_while_marked(queue: ShiftedQueue, body: bytes = b"body") -> int:
    """A name whose first request got lost and whose second was answered: idle, marked, retained."""
    unknown(queue, queue.claimed(queue.put("a", body)))
    queue.sweep()
    batch = queue.claim_now()
    assert queue.settle(batch) == [Settled.STORED]
    return batch.writes[0].seq
