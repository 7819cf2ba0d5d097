"""`penstock exporter`: the queue's gauges with no worker running, healthy and ready as far as Redis is."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import Producer, Write
from penstock.queue.blocks import block
from penstock.queue.client import Queue
from penstock_worker.demo.servers import RedisServer
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, environment, run_command

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

NO_S3 = "http://127.0.0.1:1"


def test_depth_and_age_are_seen_while_no_worker_runs_and_nothing_is_claimed(
    redis_url: str, queue_name: str, queue: Queue, producer: Producer
) -> None:
    producer.put_many([Write(key=f"{n}", body=b"body", priority="high") for n in range(7)])
    with WorkerProcess(redis_url, NO_S3, queue_name, command="exporter") as exporter:
        metrics = exporter.metrics()
        assert metrics.value("penstock_queue_writes", state="ready", priority="high") == 7
        assert metrics.value("penstock_queue_oldest_age_seconds", priority="high") > 0
        assert metrics.value("penstock_accepted_writes_total") == 7
        wait_until(lambda: exporter.metrics().value("penstock_redis_durable") == 1, LIMIT, "it has looked at Redis")
        assert "penstock_batch_items" not in exporter.metrics().families, "a worker's numbers are not its business"
        assert exporter.get("/healthz")[0] == 200
    assert queue.stats().ready["high"] == 7


def test_what_is_held_up_is_seen(redis_url: str, queue_name: str, queue: Queue, producer: Producer) -> None:
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(7)])
    block(queue, BUCKET, None)
    assert not queue.claim(
        ["token"], lease=15, max_items=25, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
    ).batches
    with WorkerProcess(redis_url, NO_S3, queue_name, command="exporter") as exporter:
        metrics = exporter.metrics()
        assert metrics.value("penstock_queue_set_aside") == 7
        assert metrics.value("penstock_queue_used", unit="items") == 7
        assert metrics.value("penstock_queue_paused") == 0
        block(queue, None, None)
        assert exporter.metrics().value("penstock_queue_paused") == 1


@pytest.mark.parametrize("stop", [WorkerProcess.terminate, WorkerProcess.interrupt])
def test_either_signal_stops_it_cleanly(stop: Callable[[WorkerProcess], None], redis_url: str, queue_name: str) -> None:
    with WorkerProcess(redis_url, NO_S3, queue_name, command="exporter") as exporter:
        stop(exporter)
        assert exporter.wait() == 0
        assert [line["event"] for line in exporter.logs()] == ["exporter_started", "exporter_stopped"]


def test_systemd_is_told_of_its_start_life_and_stop(tmp_path: Path, redis_url: str, queue_name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(LIMIT)
        told: dict[str, object] = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": 200_000}
        with WorkerProcess(redis_url, NO_S3, queue_name, command="exporter", **told) as exporter:
            assert systemd.recv(1000) == b"READY=1"
            assert systemd.recv(1000).startswith(b"WATCHDOG=1\nSTATUS=serving http://127.0.0.1:")
            exporter.terminate()
            wait_until(lambda: systemd.recv(1000) == b"STOPPING=1", LIMIT, "it says that it stops")
            assert exporter.wait() == 0


def test_without_redis_it_is_alive_and_not_ready_and_comes_back_by_itself(
    tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    with RedisServer(tmp_path, appendfsync="always", executable=redis_executable) as server:
        with Producer(server.url, queue=queue_name, bucket=BUCKET) as producer:
            producer.put("key", b"body")
        with WorkerProcess(server.url, NO_S3, queue_name, command="exporter") as exporter:
            server.kill()
            status, body = exporter.get("/readyz")
            assert status == 503
            assert "Redis does not answer" in json.loads(body)["reasons"][0]
            assert exporter.get("/healthz")[0] == 200
            assert exporter.metrics().families.keys() <= {"penstock_redis_durable", "penstock_clock_skew_seconds"}
            server.start()
            wait_until(lambda: exporter.get("/readyz")[0] == 200, LIMIT, "it is ready again")
            assert exporter.metrics().value("penstock_queue_writes", state="ready") == 1


def test_a_wrong_setting_ends_it_with_status_2_and_one_line(redis_url: str, queue_name: str) -> None:
    done = run_command("exporter", env=environment(redis_url, NO_S3, queue_name, {"sidecar_port": "http"}))
    (line,) = done.stderr.decode().splitlines()
    assert (done.returncode, "PENSTOCK_SIDECAR_PORT" in line) == (2, True)
