"""Worker processes on the queue's list: there while they live, gone when they stop or are killed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping

import pytest

import penstock
from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.workers import alive, seen
from tests.support.memory_s3 import STALL, MemoryS3, error
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, run_command, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""


def test_a_worker_is_listed_with_what_it_holds_and_gone_when_it_has_stopped(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    worker = start_worker(s3_engine="boto3", upload_concurrency=5, upload_concurrency_max=50)
    (idle,) = wait_until(lambda: alive(queue), LIMIT, "it is listed")
    facts = idle.facts
    assert (facts.host, facts.pid, facts.version) == (socket.gethostname(), worker.process.pid, penstock.__version__)
    assert (facts.engine, facts.slots, facts.in_flight, facts.lease_left) == ("boto3", 50, 0, None)
    producer.put("key", b"body", priority="critical")
    wait_until(lambda: alive(queue)[0].facts.in_flight == 1, LIMIT, "its write in flight is told")
    facts = alive(queue)[0].facts
    assert (facts.claims, facts.stored, facts.concurrency) == (1, 0, {BUCKET: 5})
    assert 0 < (facts.lease_left or 0) <= 15
    worker.terminate()
    wait_until(lambda: alive(queue)[0].facts.state == "stopping", LIMIT, "its stop is told while it waits for S3")
    sink.release()
    assert worker.wait() == 0
    assert seen(queue) == []


def test_what_a_worker_has_done_is_told(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: error(400, "InvalidTag") if request.key == "bad" else None
    producer.put_many([Write(key=f"{n}", body=os.urandom(1000), priority="high") for n in range(30)])
    producer.put("bad", b"body")
    start_worker()
    wait_until_drained(queue)
    wait_until(lambda: alive(queue), LIMIT, "it is listed")
    wait_until(lambda: alive(queue)[0].facts.stored == 30, LIMIT, "its writes are told")
    facts = alive(queue)[0].facts
    assert facts.stored_bytes >= 30_000
    assert facts.errors == [("permanent", "InvalidTag", 1)]
    assert sum(count for _, count in facts.latency["high"]) == 30


def test_a_killed_worker_is_not_alive_any_more_and_still_seen_and_the_other_is_alive(
    env: Mapping[str, str], queue: Queue, start_worker: Callable[..., WorkerProcess]
) -> None:
    killed, other = start_worker(), start_worker()
    wait_until(lambda: len(alive(queue)) == 2, LIMIT, "both are listed")
    killed.kill()
    wait_until(lambda: [one.facts.pid for one in alive(queue)] == [other.process.pid], LIMIT, "it is not alive")
    assert {one.facts.pid: one.is_alive for one in seen(queue)} == {killed.process.pid: False, other.process.pid: True}
    checks = json.loads(run_command("doctor", "--no-s3", "--json", env=env).stdout)["checks"]
    (found,) = [check["found"] for check in checks if check["check"] == "workers"]
    assert found.startswith(f"1 alive, version {penstock.__version__}; 1 fell silent")
    assert str(killed.process.pid) in found
