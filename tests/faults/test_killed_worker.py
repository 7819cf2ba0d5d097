"""A worker dies by SIGKILL, at each step of its work and again and again: nothing is lost, and nothing old wins."""

from __future__ import annotations

import signal

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""

MANY_ATTEMPTS = 100
"""Each kill costs an attempt of each write in that worker's hands: here they are not to run out."""
KILLS = 4


def write_some(oracle: Oracle, producer: Producer) -> None:
    oracle.ledger.put_each(producer, (f"{n}" for n in range(20)), "the first")
    for n in range(0, 20, 5):
        oracle.ledger.delete(producer, f"{n}")


def write_more(oracle: Oracle, producer: Producer) -> None:
    """Newer writes to some of the names that the dead worker had in its hands."""
    oracle.ledger.put_each(producer, (f"{n}" for n in range(0, 20, 4)), "the newer")
    oracle.ledger.delete(producer, "1")


@pytest.mark.parametrize(
    ("step", "nth"),
    [("after_claim", 1), ("after_compress", 1), ("after_put", 4), ("in_settle", 2), ("after_settle", 1)],
)
def test_a_worker_killed_at_any_step_loses_nothing(
    step: str, nth: int, producer: Producer, oracle: Oracle, fleet: Fleet
) -> None:
    write_some(oracle, producer)
    killed = fleet.launch("--at", step, "--nth", str(nth))
    assert killed.wait() == -signal.SIGKILL
    write_more(oracle, producer)
    fleet.start()
    summary = oracle.check()
    assert summary.accepted == 30


def test_a_worker_killed_in_the_sweep_of_a_dead_workers_claims_loses_nothing(
    producer: Producer, queue: Queue, oracle: Oracle, fleet: Fleet
) -> None:
    write_some(oracle, producer)
    # Several batches at once, so that the sweep of the second worker has several claims to take back.
    dead = fleet.launch("--at", "after_claim", batch_max_items=5)
    assert dead.wait() == -signal.SIGKILL
    assert queue.stats().inflight > 5
    killed = fleet.launch("--at", "in_sweep")
    assert killed.wait() == -signal.SIGKILL
    write_more(oracle, producer)
    fleet.start()
    oracle.check()


def test_workers_killed_again_and_again_under_load_lose_nothing(
    redis_url: str, queue_name: str, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(3, max_attempts=MANY_ATTEMPTS)
    with Writers(redis_url, queue_name, oracle.ledger, producers=2):
        for _ in range(KILLS):
            goal = store.landed + 100
            wait_until(lambda goal=goal: store.landed >= goal, LIMIT, "the load goes on")  # type: ignore[misc]
            fleet.kill(fleet.workers[0])
            fleet.launch(max_attempts=MANY_ATTEMPTS)
    summary = oracle.check()
    assert summary.accepted > KILLS * 100
