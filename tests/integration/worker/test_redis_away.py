"""Redis goes away, freezes, restarts: the worker goes on by itself, and says meanwhile that it cannot work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.demo.servers import RedisServer
from tests.support.load import Load
from tests.support.memory_s3 import STALL, MemoryS3
from tests.support.proxy import Mode, Proxy
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""


@pytest.fixture
def redis_server(tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    """One that a test may kill: every answered write is in its file."""
    with RedisServer(tmp_path, appendfsync="always", executable=redis_executable) as server:
        yield server


def reasons(worker: WorkerProcess) -> list[str]:
    status, body = worker.get("/readyz")
    found: list[str] = json.loads(body)["reasons"]
    assert (status == 503) == bool(found)
    return found


@pytest.mark.slow
def test_redis_restarted_in_mid_load_loses_nothing_and_needs_no_restart_of_the_worker(
    redis_server: RedisServer, queue_name: str, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(lease_seconds=3)
    with Load(redis_server.url, queue_name) as load:

        def goes_on() -> None:
            goal, requests = load.accepted + 200, len(sink.requests) + 200
            wait_until(lambda: load.accepted >= goal and len(sink.requests) >= requests, LIMIT, "the load goes on")

        goes_on()
        for _ in range(2):
            redis_server.restart()
            goes_on()
        load.stop()
        assert wait_until_drained(queue).dead == 0
    load.check(sink.objects)
    assert worker.get("/readyz")[0] == 200


def test_a_worker_without_redis_says_so_and_goes_on_when_it_is_back(
    redis_server: RedisServer,
    producer: Producer,
    queue: Queue,
    sink: MemoryS3,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    worker = start_worker()
    redis_server.kill()
    wait_until(lambda: worker.events("redis_unavailable"), LIMIT, "it has noticed")
    assert any("Redis does not answer" in reason for reason in reasons(worker))
    assert worker.get("/healthz")[0] == 200  # a restart of the worker would not help
    assert worker.metrics().families.get("penstock_queue_writes") is None  # absent, not zero
    redis_server.start()
    wait_until(lambda: not reasons(worker), LIMIT, "it is ready again")
    producer.put("key", b"body")
    wait_until_drained(queue)
    assert (BUCKET, "key") in sink.objects
    assert len(worker.events("redis_unavailable")) == 1, "an outage is one line, not one for each try"
    assert worker.events("redis_back")


def test_a_worker_started_before_redis_works_once_it_is_there(
    redis_server: RedisServer, producer: Producer, queue_name: str, sink: MemoryS3
) -> None:
    producer.put("key", b"body")
    redis_server.kill()
    worker = WorkerProcess(redis_server.url, sink.endpoint_url, queue_name)
    try:
        worker.launch()
        worker.wait_until_started()
        assert worker.get("/readyz")[0] == 503
        redis_server.start()
        wait_until(lambda: (BUCKET, "key") in sink.objects, LIMIT, "the write is stored")
        wait_until(lambda: not reasons(worker), LIMIT, "it is ready")
    finally:
        worker.stop()


@pytest.mark.slow
def test_a_frozen_redis_is_waited_for(
    redis_server: RedisServer,
    producer: Producer,
    queue: Queue,
    sink: MemoryS3,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    worker = start_worker(lease_seconds=2)
    producer.put("before", b"body")
    wait_until_drained(queue)
    redis_server.freeze()
    wait_until(lambda: worker.events("redis_unavailable"), LIMIT, "it has noticed")
    assert any("Redis does not answer" in reason for reason in reasons(worker))
    redis_server.thaw()
    producer.put("after", b"body")
    wait_until_drained(queue)
    assert {key for _, key in sink.objects} == {"before", "after"}
    wait_until(lambda: not reasons(worker), LIMIT, "it is ready again")


def test_uploads_that_end_while_redis_is_away_are_settled_when_it_is_back(
    redis_server: RedisServer,
    producer: Producer,
    sink: MemoryS3,
    queue_name: str,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    sink.judge = lambda request: STALL
    worker = start_worker(lease_seconds=LIMIT, request_timeout=LIMIT)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(10)])
    wait_until(lambda: len(sink.puts()) == 10, LIMIT, "all are being sent")
    redis_server.kill()
    sink.release()
    wait_until(lambda: worker.events("redis_unavailable"), LIMIT, "it has noticed")
    redis_server.start()
    client = open_client(redis_server.url, LIMIT)
    wait_until_drained(Queue(client, queue_name))
    client.close()
    assert len(sink.puts()) == 10, "nothing was sent twice"
    assert worker.told().events("batch")[0]["stored"] == 10


@pytest.mark.slow
def test_connections_whose_other_end_is_gone_are_left_for_new_ones(
    redis_server: RedisServer, producer: Producer, queue: Queue, queue_name: str, sink: MemoryS3
) -> None:
    """Half-open: nothing says that they are dead, and nothing ever answers on them."""
    with Proxy(redis_server.port) as proxy, WorkerProcess(proxy.url, sink.endpoint_url, queue_name) as worker:
        producer.put("before", b"body")
        wait_until_drained(queue)
        proxy.mode = Mode.STALL
        producer.put("after", b"body")
        wait_until(lambda: worker.events("redis_unavailable"), LIMIT, "it has noticed")
        connections = proxy.connections
        proxy.mode = Mode.PASS
        wait_until(lambda: (BUCKET, "after") in sink.objects, LIMIT, "the write is stored")
        wait_until_drained(queue)
        assert proxy.connections > connections
