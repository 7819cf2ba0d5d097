"""The queue is full, a worker is stopped in an outage, a write kills its worker: everything ends as it should."""

from __future__ import annotations

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from tests.support.fault_s3 import FaultS3, latency, refusal
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import BUCKET
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""

ITEMS = 60
STOP_TIMEOUT = 2.0
ATTEMPTS = 2
POISON = "poison"
PUT_OFF = ("--put-off", "0.5-2")
"""Seconds by which an outage puts a write off, in the place of 5 to 30: nobody wants to wait for that here."""


def test_a_full_queue_refuses_and_loses_nothing_of_what_it_took(
    redis_url: str, queue_name: str, queue: Queue, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    queue.configure(items=ITEMS)
    fleet.start()
    most = 0

    def refused_often() -> bool:
        nonlocal most
        most = max(most, queue.stats().items)
        return writers.full >= 20

    with Writers(redis_url, queue_name, oracle.ledger, producers=3) as writers:
        with store.broken(latency(1.0)):
            wait_until(refused_often, LIMIT, "writes were refused")
            wait_until(lambda: store.hits("latency") >= 10, LIMIT, "the store is slow")
        goal = oracle.ledger.count + 50
        wait_until(lambda: oracle.ledger.count >= goal, LIMIT, "it takes writes again")
    assert most == ITEMS
    oracle.check(faults={"latency": 10})


def test_a_worker_stopped_in_an_outage_gives_everything_back_within_its_time(
    producer: Producer, queue: Queue, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    outage = refusal(503, "ServiceUnavailable")
    fleet.options += PUT_OFF
    store.start(outage)
    worker = fleet.start(stop_timeout=STOP_TIMEOUT, lease_seconds=600, max_attempts=ATTEMPTS)
    oracle.ledger.put_each(producer, (f"{n}" for n in range(60)), "a text")
    wait_until(lambda: store.hits(outage.kind) >= 5, LIMIT, "the store refuses")
    worker.terminate()
    assert worker.wait() == 0
    assert queue.stats().inflight == 0, "what it held is free at once, not when the lease is over"
    store.end(outage)
    fleet.start(max_attempts=ATTEMPTS)
    oracle.check(faults={outage.kind: 5})


def test_a_write_that_kills_its_worker_dies_after_its_attempts_and_takes_no_batchmate_along(
    producer: Producer, queue: Queue, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    keys = [f"{n}" for n in range(30)]
    oracle.ledger.put_each(producer, keys[:15], "a text")
    oracle.ledger.put(producer, POISON, b"deadly")
    oracle.ledger.put_each(producer, keys[15:], "a text")
    settings = {"max_attempts": ATTEMPTS, "lease_seconds": 1, "upload_concurrency": 1}
    workers = [fleet.launch("--die-on-key", POISON, **settings)]

    def drained() -> bool:
        """The supervisor's part: a worker that died is started anew."""
        if workers[-1].exited():
            assert len(workers) <= ATTEMPTS, "it kills more workers than it has attempts"
            workers.append(fleet.launch("--die-on-key", POISON, **settings))
        return queue.stats().unfinished == 0

    wait_until(drained, LIMIT, "everything is stored or dead")
    assert len(workers) == ATTEMPTS + 1
    oracle.check(dead={(BUCKET, POISON)})
    (letter,) = queue.dead_letters()
    assert (letter.attempts, letter.failure.code) == (ATTEMPTS, "LeaseExpired")
    assert store.versions(POISON, BUCKET) == []
