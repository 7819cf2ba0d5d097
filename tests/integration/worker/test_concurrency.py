"""A real worker finds out how much a store bears: a slow one is filled, one that throttles is hardly refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from tests.support.memory_s3 import MemoryS3, Request, Trouble, error, slow
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, run_command, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""
A_SECOND = 100
"""Writes that the throttling store takes in each second of its clock."""


def backlog(producer: Producer, count: int) -> None:
    producer.put_many(Write(key=f"{number}", body=b"body") for number in range(count))


def test_a_store_with_latency_is_filled_far_beyond_the_requests_at_the_start(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: slow(0.03)
    backlog(producer, 5000)
    worker = start_worker(upload_concurrency=4, upload_concurrency_max=64)
    wait_until(lambda: sink.most_at_once >= 32, LIMIT, "32 requests are under way")
    assert 32 <= worker.metrics().value("penstock_upload_concurrency", bucket=BUCKET) <= 64
    wait_until_drained(queue)
    assert sink.most_at_once <= 64
    assert len(sink.objects) == 5000


def test_without_throttling_or_latency_no_more_than_the_most_are_under_way(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    backlog(producer, 500)
    start_worker(upload_concurrency=3, upload_concurrency_max=3)
    wait_until_drained(queue)
    assert sink.most_at_once <= 3


def test_a_store_that_throttles_refuses_little_and_loses_nothing(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    taken: dict[int, int] = {}
    refused: list[Request] = []

    def judge(request: Request) -> Trouble | None:
        taken[int(request.at)] = taken.get(int(request.at), 0) + 1
        if taken[int(request.at)] <= A_SECOND:
            return None
        refused.append(request)
        return error(503, "SlowDown")

    sink.judge = judge
    backlog(producer, 8 * A_SECOND)
    worker = start_worker()
    wait_until(lambda: len(refused) > 0, LIMIT, "it throttles")
    assert wait_until_drained(queue).dead == 0
    assert len(sink.objects) == 8 * A_SECOND
    assert len(refused) < 0.25 * len(sink.requests)
    assert worker.metrics().value("penstock_upload_concurrency", bucket=BUCKET) < 12
    assert {line["counted"] for line in worker.events("write_failed")} == {False}


def test_a_worker_that_waits_for_its_turn_stops_at_once_when_asked_twice(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: error(503, "SlowDown")
    backlog(producer, 200)
    worker = start_worker(stop_timeout=600)
    wait_until(lambda: len(sink.requests) > 3, LIMIT, "it throttles")
    worker.terminate()
    wait_until(lambda: worker.events("worker_stopping"), LIMIT, "it has begun to stop")
    worker.terminate()
    assert worker.wait() == 0
    stats = queue.stats()
    assert (stats.unfinished, stats.inflight) == (200, 0)


def test_a_maximum_below_the_start_is_refused_by_name(env: Mapping[str, str]) -> None:
    ran = run_command("worker", "--check", env={**env, "PENSTOCK_UPLOAD_CONCURRENCY_MAX": "11"})
    assert ran.returncode == 2
    assert b"PENSTOCK_UPLOAD_CONCURRENCY_MAX" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
