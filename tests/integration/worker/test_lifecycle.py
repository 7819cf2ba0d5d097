"""A worker's start and stop: settings, warnings, signals, systemd; and two producers that go on meanwhile."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock_worker.demo.servers import RedisServer
from tests.support.load import Load
from tests.support.memory_s3 import STALL, MemoryS3
from tests.support.wait import wait_until
from tests.support.worker import WorkerProcess, environment, run_command, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""


@pytest.mark.slow
def test_two_producers_and_a_stop_of_the_worker_in_between_lose_nothing(
    redis_url: str, queue_name: str, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    with Load(redis_url, queue_name, producers=2) as load:

        def goes_on(writes: int) -> None:
            goal, requests = load.accepted + writes, len(sink.requests) + writes
            wait_until(lambda: load.accepted >= goal and len(sink.requests) >= requests, LIMIT, "the load goes on")

        first = start_worker()
        goes_on(300)
        first.terminate()
        assert first.wait() == 0
        assert queue.stats().inflight == 0
        before = load.accepted
        wait_until(lambda: load.accepted > before + 100, LIMIT, "producers go on without a worker")
        start_worker()
        goes_on(300)
        load.stop()
        assert wait_until_drained(queue).dead == 0
    assert load.refused == 0
    load.check(sink.objects)
    sent = [(one.key, one.seq) for one in sink.puts()]
    assert len(sent) == len(set(sent)), "a write was sent twice although the worker stopped in order"


@pytest.mark.parametrize("stop", [WorkerProcess.terminate, WorkerProcess.interrupt])
def test_an_idle_worker_stops_when_it_is_asked(
    stop: Callable[[WorkerProcess], None], start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    stop(worker)
    assert worker.wait() == 0
    assert [line["event"] for line in worker.logs()][-2:] == ["worker_stopping", "worker_stopped"]


def test_a_second_signal_stops_a_busy_worker_without_waiting_for_its_time_limit(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    # Longer than the test may last: only the second signal can end this worker.
    worker = start_worker(stop_timeout=3600, request_timeout=600, lease_seconds=600)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(5)])
    wait_until(lambda: len(sink.puts()) == 5, LIMIT, "all are being sent")
    worker.terminate()
    wait_until(lambda: worker.events("worker_stopping"), LIMIT, "the stop has begun")
    worker.terminate()
    assert worker.wait() == 0
    assert sum(queue.stats().ready.values()) == 5
    assert worker.events("worker_stopped")[0]["given_back"] == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PENSTOCK_BATCH_MAX_ITEM", "10", "is no setting of Penstock"),
        ("PENSTOCK_BATCH_MAX_ITEMS", "0", ">= 1"),
        ("PENSTOCK_REDIS_URL", "mysql://localhost", "redis://"),
        ("PENSTOCK_S3_ENDPOINT_URL", "not-a-url", "S3"),
    ],
)
def test_a_wrong_setting_ends_the_worker_with_status_2_and_one_line_that_names_it(
    name: str, value: str, says: str, redis_url: str, queue_name: str
) -> None:
    env = environment(redis_url, "http://127.0.0.1:1", queue_name, {name: value})
    done = run_command("worker", env=env)
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert name in line or "PENSTOCK_S3_" in line
    assert says in line
    assert done.stdout == b""


def test_a_sidecar_port_that_is_taken_ends_the_worker_with_status_2_and_one_line(
    redis_url: str, queue_name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = environment(redis_url, "http://127.0.0.1:1", queue_name, {"sidecar_port": port})
        done = run_command("worker", env=env)
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert f"PENSTOCK_SIDECAR_PORT={port}" in line


def test_settings_are_taken_from_a_file_and_the_environment_wins(
    tmp_path: Path, producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "penstock.toml").write_text('batch_max_items = 3\nbatch_max_wait = 3600\nmax_attempts = "nonsense"\n')
    worker = start_worker(config=tmp_path / "penstock.toml", max_attempts=5)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(6)])
    wait_until_drained(queue)
    assert [line["writes"] for line in worker.told().events("batch")] == [3, 3]


def test_a_redis_that_would_lose_writes_is_named_at_the_start_with_the_remedy(
    tmp_path: Path, redis_executable: str | None, start_worker: Callable[..., WorkerProcess]
) -> None:
    extra = ("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path, executable=redis_executable, extra=extra) as server:
        warnings = start_worker(redis_url=server.url).events("redis_unsafe")
    remedies = {line["problem"].split()[0]: line["remedy"] for line in warnings}
    assert remedies.keys() == {"maxmemory-policy", "appendonly"}
    assert "noeviction" in remedies["maxmemory-policy"]
    assert "appendonly yes" in remedies["appendonly"]
    assert {line["level"] for line in warnings} == {"warning"}


def test_a_redis_that_is_fit_is_not_warned_of(start_worker: Callable[..., WorkerProcess]) -> None:
    assert start_worker().events("redis_unsafe") == []


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(LIMIT)
        yield listener


def test_systemd_is_told_of_start_stop_and_life(
    systemd: socket.socket, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(NOTIFY_SOCKET=systemd.getsockname(), WATCHDOG_USEC=200_000, PENSTOCK_STOP_TIMEOUT=7)
    assert systemd.recv(1000) == b"READY=1"
    wait_until(lambda: systemd.recv(1000) == b"WATCHDOG=1\nSTATUS=0 batches in flight", LIMIT, "it lives and works")
    worker.terminate()
    stop = b"STOPPING=1\nSTATUS=stopping, 0 batches in flight\nEXTEND_TIMEOUT_USEC=27000000"
    wait_until(lambda: systemd.recv(1000) == stop, LIMIT, "it says that it stops, and for how long at most")
    assert worker.wait() == 0


def test_a_socket_of_systemds_that_is_not_there_does_not_stop_the_worker(
    tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(NOTIFY_SOCKET=os.fspath(tmp_path / "not-mounted"))
    wait_until(lambda: worker.events("systemd_not_notified"), LIMIT, "it is logged")
    assert worker.get("/healthz")[0] == 200


def test_a_worker_whose_duty_died_ends_in_order_so_that_its_supervisor_starts_a_whole_one(
    redis_url: str, queue_name: str, sink: MemoryS3
) -> None:
    program = (
        "from penstock_worker.keeper import Keeper\n"
        "Keeper.renew = lambda self: 1 / 0\n"
        "from penstock_worker.cli import main; main()"
    )
    env = environment(redis_url, sink.endpoint_url, queue_name, {"lease_seconds": 1})
    worker = subprocess.run([sys.executable, "-c", program, "worker"], env=env, capture_output=True, timeout=LIMIT)
    assert worker.returncode == 1
    events = [line["event"] for line in map(json.loads, worker.stderr.splitlines())]
    assert events[-3:] == ["thread_died", "worker_stopping", "worker_stopped"]
