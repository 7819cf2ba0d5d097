"""What a consumer claims next while there is more than it has room for: nothing may wait for ever (promise 6)."""

from __future__ import annotations

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.results import Failure
from penstock.queue.suspension import suspend
from penstock_worker.held import HeldClaim
from tests.support.wait import wait_until
from tests.support.worker_parts import Parts

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""


@pytest.mark.parametrize("size", [2700, 5000], ids=["within-the-budget", "above-the-budget"])
@pytest.mark.parametrize(("backlog", "large"), [("low", "normal"), ("normal", "low"), ("high", "low")])
def test_a_write_that_does_not_fit_gets_its_turn_though_others_have_a_backlog(
    producer: Producer, queue: Queue, size: int, backlog: str, large: str
) -> None:
    parts = Parts(queue, slots=4, memory_budget=3000, batch_max_bytes=3000, batch_max_items=1)
    producer.put_many([Write(key=f"small-{n}", body=bytes(500), priority=backlog) for n in range(100)])
    held = [parts.claim()]
    producer.put("large", bytes(size), priority=large)
    for _ in range(100):
        claim = parts.look()
        if claim is not None:
            held.append(claim)
            if claim.batch.writes[0].key == "large":
                return
        # Something is always held but for a moment, and what is let go is back in the backlog.
        if claim is None or len(held) > 2:
            parts.ack(held.pop(0))
    raise AssertionError("small ones were claimed again and again")


def test_a_critical_write_does_not_wait_for_the_room_that_a_large_one_needs(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, slots=4, memory_budget=3000, batch_max_bytes=3000, batch_max_items=1)
    producer.put_many([Write(key=f"low-{n}", body=bytes(500), priority="low") for n in range(10)])
    for _ in range(2):
        parts.claim()
    producer.put("large", bytes(2700))
    while parts.look() is not None:
        pass
    producer.put("urgent", b"body", priority="critical")
    claim = wait_until(parts.look, LIMIT, "a critical write is claimed")
    assert claim is not None
    assert claim.batch.critical


@pytest.mark.parametrize(
    ("swept", "size"),
    [(False, 10), (True, 10), (False, 2700), (False, 5000)],
    ids=["small", "swept", "large", "huge"],
)
def test_a_suspended_bucket_is_probed_though_another_one_has_a_backlog(
    producer: Producer, queue: Queue, swept: bool, size: int
) -> None:
    producer.put("probe", bytes(size), bucket="broken")
    if swept:
        assert _claim_as_a_dead_worker(queue) == 1
        wait_until(lambda: queue.sweep(max_attempts=8).taken_back, LIMIT, "its lease is over")
    suspend(queue, "broken", "worker", Failure("environment", "AccessDenied", 403, "no"))
    producer.put_many([Write(key=f"{n}", body=bytes(500)) for n in range(20)])
    parts = Parts(queue, slots=2, memory_budget=3000, batch_max_bytes=3000, batch_max_items=1)
    held: list[HeldClaim] = []

    def is_probed() -> bool:
        claim = parts.look()
        if claim is not None:
            held.append(claim)
        if len(held) == 2 or (claim is None and held):
            parts.ack(held.pop(0))  # unsettled: the backlog goes on
        return claim is not None and claim.is_probe

    wait_until(is_probed, LIMIT, "its probe is due")


def _claim_as_a_dead_worker(queue: Queue) -> int:
    reply = queue.claim(["dead"], lease=0.001, max_items=25, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True)
    return sum(len(batch.writes) for batch in reply.batches)
