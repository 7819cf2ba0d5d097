"""Promises 1, 3 and 4: accepted is durable, retries are bounded, a broken environment costs no data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.demo.servers import RedisServer
from penstock_worker.failures import OUTAGE_LEAST
from tests.support.load import Load
from tests.support.memory_s3 import STALL, MemoryS3, Trouble, error
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until
from tests.support.worker import WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""


@pytest.mark.slow
def test_promise_1_accepted_writes_survive_the_death_of_the_worker_and_of_redis(
    tmp_path: Path, redis_executable: str | None, queue_name: str, sink: MemoryS3
) -> None:
    # Only with "always" is an answered write surely in the file when Redis is killed.
    with RedisServer(tmp_path, appendfsync="always", executable=redis_executable) as server:
        client = open_client(server.url, LIMIT)
        queue = Queue(client, queue_name)

        def grows_by(writes: int) -> None:
            goal, stored = load.accepted + writes, len(sink.requests) + writes
            wait_until(lambda: load.accepted >= goal and len(sink.requests) >= stored, LIMIT, "the load goes on")

        worker = WorkerProcess(server.url, sink.endpoint_url, queue_name, lease_seconds=2)
        other = WorkerProcess(server.url, sink.endpoint_url, queue_name, lease_seconds=2)
        with Load(server.url, queue_name) as load, other:
            with worker:
                grows_by(200)
                wait_until(lambda: queue.stats().inflight, LIMIT, "something is in flight")
                worker.kill()
            grows_by(200)
            server.kill()
            wait_until(lambda: load.refused > 0, LIMIT, "a producer noticed that Redis is gone")
            server.start()
            grows_by(200)
            load.stop()
            wait_until_drained(queue)
        assert queue.stats().dead == 0
        load.check(sink.objects)
        client.close()


def test_promise_3_a_failing_write_is_dead_lettered_alone_after_its_attempts(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: error(500, "InternalError") if request.key == "poison" else None
    producer.put_many([Write(key="poison" if n == 7 else f"good-{n}", body=b"body") for n in range(25)])
    worker = start_worker(max_attempts=3)
    stats = wait_until_drained(queue)
    assert stats.dead == 1
    (letter,) = queue.dead_letters()
    assert (letter.key, letter.attempts) == ("poison", 3)
    assert (letter.failure.error_class, letter.failure.code, letter.failure.http_status) == (
        *("unknown", "InternalError"),
        500,
    )
    assert len(sink.puts("poison")) == 3
    assert {key for _, key in sink.objects} == {f"good-{n}" for n in range(25) if n != 7}
    # The poison was in a batch with the others, or this would prove nothing.
    first = worker.told().events("batch")[0]
    assert (first["writes"], first["stored"]) == (25, 24)


def test_promise_3_a_write_that_kills_its_workers_runs_out_of_attempts(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    receipt = producer.put("killer", b"body")
    for attempt in (1, 2):
        worker = start_worker(lease_seconds=1, max_attempts=2, request_timeout=LIMIT)
        wait_until(lambda attempt=attempt: len(sink.puts()) == attempt, LIMIT, f"attempt {attempt}")  # type: ignore[misc]
        worker.kill()
    start_worker(lease_seconds=1, max_attempts=2)
    wait_until(lambda: queue.stats().dead == 1, LIMIT, "a sweep has dead-lettered it")
    (letter,) = queue.dead_letters()
    assert (letter.key, letter.seq, letter.attempts) == ("killer", receipt.seq, 2)
    assert letter.failure.code == "LeaseExpired"
    assert queue.stats().unfinished == 0
    assert len(sink.puts()) == 2


@pytest.mark.slow
def test_promise_4_a_broken_destination_costs_no_write_and_work_resumes_by_itself(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    broken: dict[str, Trouble] = {
        "no-permission": error(403, "AccessDenied"),
        "no-bucket": error(404, "NoSuchBucket"),
        "outage": error(503, "InternalError"),
    }
    writes = 8
    sink.judge = lambda request: broken.get(request.bucket)
    producer.put_many([Write(key=f"{n}", body=b"first", bucket=bucket) for bucket in broken for n in range(writes)])
    worker = start_worker()

    def probed() -> bool:
        suspended = queue.stats().suspended
        return len(suspended) == len(broken) and all(one.probes >= 2 for one in suspended)

    wait_until(probed, LIMIT, "each bucket is suspended, and probed in vain")
    stats = queue.stats()
    assert stats.dead == 0
    assert stats.unfinished == len(broken) * writes
    counted = [line["bucket"] for line in worker.events("write_failed") if line["counted"]]
    assert set(counted) <= {"outage"}
    assert len(counted) < OUTAGE_LEAST, "attempts were counted while everything failed"
    assert not sink.objects

    broken.clear()
    wait_until(lambda: len({bucket for bucket, _ in sink.objects}) == 3, LIMIT, "each bucket's writes go on")
    producer.put_many(
        [
            Write(key=f"{n}", body=b"last", bucket=bucket)
            for bucket in ("no-permission", "no-bucket", "outage")
            for n in range(writes)
        ]
    )
    wait_until_drained(queue)
    assert len(sink.objects) == 3 * writes
    assert {stored.body for stored in sink.objects.values()} == {b"last"}
    assert queue.stats().dead == 0


@pytest.mark.slow
def test_promise_4_an_endpoint_that_refuses_connections_costs_no_write(
    producer: Producer, queue: Queue, start_worker: Callable[..., WorkerProcess]
) -> None:
    port = closed_port()
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(8)])
    worker = start_worker(endpoint_url=f"http://127.0.0.1:{port}")
    wait_until(lambda: len(worker.events("write_failed")) >= 8, LIMIT, "every write has failed")
    assert {line["code"] for line in worker.events("write_failed")} == {"ConnectFailed"}
    assert sum(line["counted"] for line in worker.events("write_failed")) < OUTAGE_LEAST
    with MemoryS3(port) as sink:
        wait_until(lambda: sink.objects, LIMIT, "work resumes by itself")
        producer.put_many([Write(key=f"{n}", body=b"body") for n in range(8)])  # ready at once
        wait_until_drained(queue)
        assert {key for _, key in sink.objects} == {f"{n}" for n in range(8)}
    assert queue.stats().dead == 0
