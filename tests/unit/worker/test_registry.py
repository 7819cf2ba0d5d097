"""What a worker tells of itself, from its counters and its claims, and what it does without Redis."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

import penstock
from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.live import Live
from penstock.queue.results import Outcome, Settled, Settlement
from penstock.queue.workers import Rate, alive
from penstock_worker.activity import LATELY_SECONDS, RATE_SECONDS, Activity
from penstock_worker.held import HeldClaim, boottime
from penstock_worker.metrics import Metrics
from penstock_worker.registry import DUTY, Registry
from penstock_worker.stores import ErrorClass, StoreFault
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until
from tests.support.worker_parts import Parts

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""


def registry(parts: Parts, queue: Queue | None = None, **options: Callable[..., object]) -> Registry:
    return Registry(
        [queue or parts.queue], parts.held, parts.beats, parts.metrics, parts.settings, **options  # type: ignore[arg-type]
    )  # fmt: skip


def stored(metrics: Metrics, claim: HeldClaim, seconds: float) -> None:
    """Counts the claim's writes as stored so many seconds after they were accepted."""
    settlements = [Settlement(write.name, Outcome.STORED) for write in claim.batch.writes]
    now = max(write.since for write in claim.batch.writes) / 1e6 + seconds
    answers = [Settled.STORED] * len(settlements)
    metrics.settled(claim, settlements, answers, 0, 1000, 400, boottime(), now)


def test_a_worker_tells_what_it_is_and_what_it_holds(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, batch_max_items=2, lease_seconds=50.0, upload_concurrency_max=70)
    told = registry(parts, concurrency=lambda: {"the-bucket": 3})
    told._beat()
    (idle,) = alive(queue)
    assert (idle.facts.in_flight, idle.facts.claims, idle.facts.lease_left) == (0, 0, None)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(3)])
    first, _ = parts.claim(), parts.claim()
    first.deadline -= 20
    told._beat()
    (seen,) = alive(queue)
    facts = seen.facts
    assert seen.id.startswith(f"{facts.host}:{os.getpid()}:")
    assert (facts.pid, facts.version, facts.engine) == (os.getpid(), penstock.__version__, "obstore")
    assert (facts.in_flight, facts.claims, facts.slots, facts.concurrency) == (3, 2, 70, {"the-bucket": 3})
    assert facts.lease_left is not None
    assert 0 < facts.lease_left <= 30, "of its leases the shortest"
    assert 0 <= facts.state_seconds <= facts.up_seconds < LIMIT
    assert facts.state == "running"


def test_a_worker_tells_that_its_clock_is_wrong_and_that_it_stops_and_since_when(queue: Queue) -> None:
    wrong: list[str] = []
    parts = Parts(queue, unfit=lambda: wrong[0] if wrong else None)
    told = registry(parts)

    def state() -> tuple[str, float]:
        told._beat()
        facts = alive(queue)[0].facts
        return facts.state, facts.state_seconds

    assert state()[0] == "running"
    wrong.append("the clock")
    assert state() == ("unfit", 0.0)
    parts.held.stop()
    assert state() == ("stopping", 0.0)
    assert state()[1] > 0


def test_throughput_latency_and_errors_are_those_of_lately(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    activity, metrics = Activity(0.0), parts.metrics
    producer.put_many([Write(key=f"{n}", body=b"body", priority="high") for n in range(4)])
    claim = parts.claim()

    def look(now: float) -> Activity:
        activity.look(now, metrics.of_writes())
        return activity

    assert look(0.5).rate() == Rate(0.5, 0, 0)
    stored(metrics, claim, 0.4)
    fault = StoreFault(ErrorClass.THROTTLE, "SlowDown", 503, "")
    metrics.request("put", 0.1, fault)
    metrics.request("delete", 0.1, fault)
    metrics.request("put", 0.1, StoreFault(ErrorClass.UNKNOWN, "NobodyKnowsThisOne", 500, ""))
    assert look(3.0).rate() == Rate(3.0, 4, 400)
    assert activity.latency() == {"high": [(0.25, 0), (0.5, 4)]}
    assert activity.errors() == [("throttle", "SlowDown", 2), ("unknown", "other", 1)]
    stored(metrics, claim, 7200)
    look(RATE_SECONDS + 3.0)
    assert activity.rate() == Rate(RATE_SECONDS, 4, 400)
    assert activity.latency() == {"high": [(0.25, 0), (0.5, 4), (3600.0, 0), (float("inf"), 4)]}
    assert activity.stored == (8, 800)
    look(LATELY_SECONDS + 3.0)
    assert activity.rate() == Rate(LATELY_SECONDS - RATE_SECONDS, 0, 0)
    assert activity.latency() == {"high": [(3600.0, 0), (float("inf"), 4)]}
    assert activity.errors() == []


def test_without_redis_it_says_so_once_and_goes_on(queue: Queue) -> None:
    parts = Parts(queue)
    applied: list[Live] = []
    away = Queue(open_client(f"redis://127.0.0.1:{closed_port()}/0", 0.5), queue.name)
    told = registry(parts, away, apply=applied.append)
    with capture_logs() as logs:
        told._beat()
        told._beat()
        told._shards = [queue]
        told._beat()
    assert [line["event"] for line in logs] == ["heartbeat_failed"]
    assert len(alive(queue)) == 1
    assert applied == [Live(log_level=None)]


def test_it_beats_until_it_is_stopped_and_is_off_the_list_then(queue: Queue) -> None:
    parts = Parts(queue)
    told = registry(parts)
    told.start()
    wait_until(lambda: alive(queue), LIMIT, "it has beaten")
    parts.held.stop()
    told.tell()
    wait_until(lambda: alive(queue)[0].facts.state == "stopping", LIMIT, "it tells of its stop at once")
    assert parts.beats.age(DUTY) is not None
    told.stop()
    told.join(LIMIT)
    assert not told.is_alive()
    assert alive(queue) == []
