"""Promises 5 and 6: everything is bounded, urgent goes first and nothing starves."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from penstock import Producer, QueueFull, Write
from penstock.queue.client import Queue
from tests.support.memory_s3 import MemoryS3, slow
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

MIB = 1024 * 1024
BACKLOG = 2000
SLOW = slow(0.01)
"""So that the store, and not the worker, is what a backlog waits for."""


def test_promise_5_a_queue_at_its_limit_of_items_refuses_and_takes_again_once_it_has_drained(
    producer: Producer, queue: Queue, start_worker: Callable[..., WorkerProcess]
) -> None:
    queue.configure(items=10)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(10)])
    with pytest.raises(QueueFull) as caught:
        producer.put("one-more", b"body")
    assert (caught.value.unit, caught.value.limit, caught.value.current) == ("items", 10, 10)
    producer.put("7", b"newer")  # it takes the place of a waiting one
    start_worker()
    wait_until_drained(queue)
    producer.put("one-more", b"body")


def test_promise_5_a_queue_at_its_limit_of_bytes_refuses_inline_and_large_bodies(
    producer: Producer, queue: Queue
) -> None:
    queue.configure(size=MIB)
    producer.put("large", bytes(MIB - 20_000))
    for size in (30_000, 200_000):
        with pytest.raises(QueueFull) as caught:
            producer.put("one-more", bytes(size))
        assert (caught.value.unit, caught.value.limit) == ("bytes", MIB)
        assert MIB - 20_000 < caught.value.current < MIB
    assert queue.stats().bytes < MIB


def test_promise_5_a_worker_holds_no_more_bytes_than_its_budget(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    budget, writes = 4 * MIB, 24
    noise = random.Random(5).randbytes(MIB)
    sink.judge = lambda request: slow(0.1)
    producer.put_many([Write(key=f"{n}", body=noise) for n in range(writes)])
    start_worker(memory_budget=budget, batch_max_bytes=2 * MIB, upload_concurrency=20)
    seen: list[int] = []

    def drained() -> bool:
        stats = queue.stats()
        seen.append(stats.inflight)
        return stats.unfinished == 0

    wait_until(drained, LIMIT, "it is drained")
    # A body of 1 MiB and its record take a little more than that of the budget.
    assert max(seen) * MIB < budget
    assert max(seen) >= 2, "nothing was in flight together, so this says nothing"
    assert len(sink.objects) == writes


def test_promise_5_a_write_larger_than_the_budget_passes_alone(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    large = random.Random(6).randbytes(6 * MIB)
    producer.put_many([Write(key=f"{n}", body=large if n == 3 else b"body") for n in range(6)])
    start_worker(memory_budget=4 * MIB, batch_max_bytes=2 * MIB)
    wait_until_drained(queue)
    assert len(sink.objects) == 6
    assert sink.objects[BUCKET, "3"].body == large


def test_promise_6_a_critical_write_overtakes_a_backlog_of_low_ones(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: SLOW
    producer.put_many([Write(key=f"low-{n}", body=b"body", priority="low") for n in range(BACKLOG)])
    worker = start_worker(batch_max_items=10)
    wait_until(lambda: len(sink.puts()) > 50, LIMIT, "the backlog is being worked off")
    producer.put("critical", b"body", priority="critical")
    before = len(sink.puts())
    wait_until(lambda: sink.puts("critical"), LIMIT, "the critical write has left")
    overtook_all_but = [one.key for one in sink.puts()].index("critical") - before
    # Four batches of ten are under way when it comes, and others may be claimed until the worker looks again.
    assert overtook_all_but < 200
    assert queue.stats().ready["low"] > 0
    assert worker.metrics().value("penstock_queue_writes", state="ready", priority="low") > 0


def test_promise_6_low_writes_go_on_under_a_backlog_of_critical_ones(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: SLOW
    producer.put_many([Write(key=f"critical-{n}", body=b"body", priority="critical") for n in range(BACKLOG)])
    producer.put_many([Write(key=f"low-{n}", body=b"body", priority="low") for n in range(20)])
    start_worker()
    wait_until(lambda: len({one.key for one in sink.puts() if "low" in one.key}) == 20, LIMIT, "the low ones left")
    order = [one.key for one in sink.puts()]
    critical_first = max(at for at, key in enumerate(order) if "low" in key) - 19
    # By weight one low for eight critical ones: 160, and some batches of slack.
    assert 20 < critical_first < 600
    assert queue.stats().ready["critical"] > 0


def test_promise_6_a_tenants_backlog_does_not_delay_another_tenant(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: SLOW
    # The busy tenant comes first by every order: by time, and by name.
    producer.put_many([Write(key=f"many-{n}", body=b"body", tenant="a-lot") for n in range(BACKLOG)])
    producer.put_many([Write(key=f"few-{n}", body=b"body", tenant="few") for n in range(20)])
    start_worker()
    wait_until(lambda: len({one.key for one in sink.puts() if "few" in one.key}) == 20, LIMIT, "the few have left")
    order = [one.key for one in sink.puts()]
    many_first = max(at for at, key in enumerate(order) if "few" in key) - 19
    assert many_first < 200
    assert queue.stats().ready["normal"] > 0
