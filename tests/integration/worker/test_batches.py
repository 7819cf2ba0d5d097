"""When a batch leaves, what is in it, and in which order the versions of a key arrive."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from tests.support.memory_s3 import MemoryS3, Trouble, error, slow
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

NEVER = 3600
"""A batch_max_wait that no test lives to see: what leaves, leaves for another reason."""


def sizes(worker: WorkerProcess) -> list[int]:
    return [line["writes"] for line in worker.events("batch")]


def test_a_batch_leaves_when_it_has_its_count(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(batch_max_items=10, batch_max_wait=NEVER)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(24)])
    wait_until(lambda: len(worker.events("batch")) >= 2, LIMIT, "two batches are done")
    assert sizes(worker) == [10, 10]
    assert len(sink.objects) == 20
    assert sum(queue.stats().ready.values()) == 4
    producer.put_many([Write(key=f"more-{n}", body=b"body") for n in range(6)])
    wait_until(lambda: len(worker.events("batch")) >= 3, LIMIT, "the third is full")
    assert sizes(worker) == [10, 10, 10]


def test_a_batch_leaves_when_it_has_its_bytes(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(batch_max_bytes="100KiB", batch_max_wait=NEVER)
    producer.put_many([Write(key=f"{n}", body=bytes(30_000)) for n in range(4)])
    wait_until(lambda: worker.events("batch"), LIMIT, "a batch is done")
    assert sizes(worker) == [3]  # the fourth would be over the limit
    assert sum(queue.stats().ready.values()) == 1


def test_a_batch_leaves_when_its_oldest_write_has_waited_long_enough(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    wait = 2.0
    worker = start_worker(batch_max_wait=wait)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(5)])
    wait_until_drained(queue)
    assert sizes(worker.told()) == [5]
    metrics = worker.metrics()
    assert metrics.value("penstock_batch_wait_seconds_count") == 1
    assert metrics.value("penstock_batch_wait_seconds_sum") >= wait


def test_a_critical_write_does_not_wait_for_its_batch_to_fill(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker(batch_max_wait=NEVER)
    producer.put("now", b"body", priority="critical")
    wait_until_drained(queue)
    assert (BUCKET, "now") in sink.objects


def test_the_deletes_of_a_batch_go_out_as_one_request_a_bucket(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    for bucket in (BUCKET, "other-bucket"):
        producer.put_many([Write(key=f"{n}", body=b"body", bucket=bucket) for n in range(100)])
    first = start_worker()
    wait_until_drained(queue)
    assert len(sink.objects) == 200
    first.terminate()
    assert first.wait() == 0
    for bucket in (BUCKET, "other-bucket"):
        for n in range(90):
            producer.delete(f"{n}", bucket=bucket)
    worker = start_worker()
    wait_until_drained(queue)
    assert {key for _, key in sink.objects} == {f"{n}" for n in range(90, 100)}
    assert len(sink.objects) == 20
    asked = [(one.bucket, len(one.keys)) for one in sink.deletes()]
    assert sorted(asked) == [("other-bucket", 90), (BUCKET, 90)]
    assert worker.told().metrics().value("penstock_writes_total", outcome="deleted") == 180
    assert worker.metrics().value("penstock_s3_write_requests_total", operation="delete", outcome="ok") == 2


def test_a_delete_that_fails_alone_in_a_bulk_request_does_not_touch_its_neighbours(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    refused: dict[tuple[str, str], Trouble] = {("DELETE", "3"): error(500, "InternalError")}
    sink.judge = lambda request: refused.get((request.method, request.key))
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(20)])
    worker = start_worker()
    wait_until_drained(queue)
    for n in range(20):
        producer.delete(f"{n}")
    wait_until(lambda: worker.events("write_failed"), LIMIT, "a delete has failed")
    wait_until(lambda: len(sink.objects) == 1, LIMIT, "all others are deleted")
    refused.clear()
    wait_until_drained(queue)
    assert not sink.objects
    assert {line["key"] for line in worker.events("write_failed")} == {"3"}


def test_of_many_versions_that_wait_only_the_last_is_uploaded(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    for version in range(50):
        receipt = producer.put("key", b"version %d" % version)
        assert receipt.coalesced == (version > 0)
    producer.put("dead", b"body")
    producer.delete("dead")
    producer.delete("back")
    producer.put("back", b"body")
    worker = start_worker()
    wait_until_drained(queue)
    assert [one.body for one in sink.puts("key")] == [b"version 49"]
    assert set(sink.objects) == {(BUCKET, "key"), (BUCKET, "back")}
    assert sink.puts("dead") == []
    metrics = worker.told().metrics()
    assert metrics.value("penstock_accepted_writes_total", priority="normal") == 54
    assert metrics.value("penstock_coalesced_writes_total", priority="normal") == 51


@pytest.mark.slow
def test_versions_of_a_key_arrive_in_order_with_four_producers_and_two_workers(
    redis_url: str, queue_name: str, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    jitter = random.Random(4)
    sink.judge = lambda request: slow(jitter.uniform(0, 0.03))
    workers = [start_worker(batch_max_items=5, batch_max_wait=0.01) for _ in range(2)]
    accepted: dict[str, dict[int, bytes]] = {f"{n}": {} for n in range(10)}
    written = [0] * 4
    deadline = time.monotonic() + LIMIT

    def enough() -> bool:
        """Each key was uploaded some times meanwhile, so that the order says something."""
        return all(len(sink.puts(key)) > 4 for key in accepted) or time.monotonic() > deadline

    def produce(number: int) -> None:
        choice = random.Random(number)
        with Producer(redis_url, queue=queue_name, bucket=BUCKET, timeout=LIMIT) as producer:
            while written[number] % 20 or not enough():
                key, body = f"{choice.randrange(10)}", b"%d of %d" % (written[number], number)
                accepted[key][producer.put(key, body).seq] = body
                written[number] += 1

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LIMIT)
    wait_until_drained(queue)
    assert sum(map(len, accepted.values())) == sum(written)
    for key, versions in accepted.items():
        last = max(versions)
        assert sink.objects[BUCKET, key].body == versions[last]
        order = [one.seq for one in sink.puts(key)]
        assert order == sorted(set(order)), f"{key}: an older version arrived after a newer one, or one arrived twice"
        assert order[-1] == last
        assert len(order) > 4, "all was coalesced, so this says nothing"
    assert all(worker.told().metrics().value("penstock_writes_total", outcome="stored") > 0 for worker in workers)


def test_who_waits_for_a_write_is_told_when_a_worker_has_stored_it_or_given_it_up(
    producer: Producer, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker(batch_max_wait=0)
    stored = producer.put("stored", b"body")
    assert producer.wait(stored, LIMIT).outcome == "stored"
    assert sink.objects[BUCKET, "stored"].body == b"body"
    sink.judge = lambda request: error(400, "InvalidTag") if request.key == "refused" else None
    result = producer.wait(producer.put("refused", b"body"), LIMIT)
    assert result.outcome == "dead"
    assert result.failure is not None
    assert (result.failure.error_class, result.failure.code, result.failure.http_status) == (
        "permanent", "InvalidTag", 400,
    )  # fmt: skip
