"""What a worker's lines say about a batch and its writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import redis
import structlog
from structlog.testing import capture_logs
from tenacity import Retrying, stop_after_attempt

from penstock import Producer
from penstock.queue.client import Queue
from penstock_worker import logs
from penstock_worker.metrics import WRITE_OUTCOMES
from penstock_worker.stores import ErrorClass, PutRequest, StoreFault
from penstock_worker.sweeper import Sweeper
from tests.support.wait import wait_until
from tests.support.worker_parts import CallStore, Parts

pytestmark = pytest.mark.integration

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01"


LIMIT = 30.0
"""Seconds, against hangs only."""
LOOKS = "waiting_seconds", "upload_seconds", "settle_seconds", "seconds"


@pytest.fixture
def debug() -> Iterator[None]:
    logs.set_level("debug")
    yield
    logs.set_level("info")


def refuse_b(request: PutRequest) -> None:
    if request.key == "b":
        raise StoreFault(ErrorClass.PERMANENT, "InvalidTag", 400, "the tag is not valid")


def run_batch(queue: Queue, put: Callable[[PutRequest], None] = refuse_b, **settings: Any) -> list[Any]:
    """The lines of one batch of all that is ready."""
    parts = Parts(queue, **settings)
    sweeper = Sweeper(queue, parts.beats, parts.metrics, lease=15, max_attempts=8)
    uploader = parts.uploader(CallStore(put), sweeper)
    try:
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
            claim = parts.claim()
            uploader.run(claim)
            parts.ack(claim)
    finally:
        uploader.close()
    return lines


@pytest.mark.usefixtures("debug")
def test_the_lines_of_a_write_name_its_trace(producer: Producer, queue: Queue) -> None:
    seq = producer.put("a", b"body", traceparent=TRACE).seq
    producer.put("b", b"body", traceparent=OTHER)
    producer.delete("c", traceparent=TRACE)
    producer.put("d", b"body")
    lines = run_batch(queue)
    (failed,) = [line for line in lines if line["event"] == "write_failed"]
    assert (failed["log_level"], failed["key"], failed["traceparent"]) == ("warning", "b", OTHER)
    stored = {line["key"]: line for line in lines if line["event"] == "write_stored"}
    assert {key: line["traceparent"] for key, line in stored.items()} == {"a": TRACE, "c": TRACE, "d": None}
    line = stored["a"]
    assert 0 <= line.pop("seconds") < 60
    assert line.pop("claim")
    assert line == {
        "event": "write_stored", "log_level": "debug", "bucket": "the-bucket", "key": "a", "seq": seq,
        "operation": "put", "traceparent": TRACE,
    }  # fmt: skip
    assert stored["c"]["operation"] == "delete"


def test_stored_writes_have_no_lines_unless_they_are_asked_for(producer: Producer, queue: Queue) -> None:
    producer.put("a", b"body", traceparent=TRACE)
    assert {line["event"] for line in run_batch(queue)} == {"batch"}


@pytest.mark.usefixtures("debug")
def test_every_line_of_a_batch_names_its_claim_whichever_thread_and_module_it_is_of(
    producer: Producer, queue: Queue
) -> None:
    def put(request: PutRequest) -> None:
        structlog.get_logger("of.a.store").warning("slow", key=request.key)
        refuse_b(request)

    for key in "abcd":
        producer.put(key, b"body")
    lines = run_batch(queue, put)
    assert [line["event"] for line in lines].count("slow") == 4
    assert {line["event"] for line in lines} == {"slow", "write_failed", "write_stored", "batch"}
    assert len({line["claim"] for line in lines}) == 1
    assert structlog.contextvars.get_contextvars() == {}


def test_the_line_of_a_batch_accounts_for_every_write_and_every_second(producer: Producer, queue: Queue) -> None:
    producer.put("a", b"x" * 1000)
    producer.put("b", b"body")
    producer.delete("c")
    (line,) = [line for line in run_batch(queue) if line["event"] == "batch"]
    assert {outcome: line[outcome] for outcome in WRITE_OUTCOMES if line[outcome]} == {
        "stored": 1, "deleted": 1, "dead": 1,
    }  # fmt: skip
    assert (line["writes"], line["unsettled"]) == (3, 0)
    assert line["bytes_in"] == 1000
    assert 0 < line["bytes_out"] < 1000
    assert all(line[look] >= 0 for look in LOOKS)
    assert line["upload_seconds"] + line["settle_seconds"] <= line["seconds"] + 0.001


def test_a_batch_whose_end_the_queue_was_not_told_is_unsettled(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **options: object) -> None:
        raise redis.exceptions.ConnectionError("away")

    producer.put("a", b"body")
    monkeypatch.setattr(queue, "settle", away)
    monkeypatch.setattr(
        "penstock_worker.outcomes.while_leased", lambda claim, held: Retrying(stop=stop_after_attempt(2))
    )
    lines = {line["event"]: line for line in run_batch(queue)}
    assert lines.keys() == {"settle_failed", "batch", "batch_released"}
    assert (lines["batch"]["stored"], lines["batch"]["unsettled"]) == (0, 1)
    assert len({line["claim"] for line in lines.values()}) == 1


def test_a_batch_whose_settle_is_sent_again_has_lost_no_lease(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = queue.settle
    lost: list[object] = []

    def answer_lost(*args: Any, **options: Any) -> Any:
        answer = settle(*args, **options)
        if not lost:
            lost.append(answer)
            raise redis.exceptions.TimeoutError
        return answer

    producer.put("a", b"body")
    monkeypatch.setattr(queue, "settle", answer_lost)
    (line,) = [line for line in run_batch(queue) if line["event"] == "batch"]
    assert (line["lease_lost"], line["unsettled"]) == (0, 1)


def test_the_last_attempt_s_line_says_that_there_is_no_other(producer: Producer, queue: Queue) -> None:
    def fail(request: PutRequest) -> None:
        raise StoreFault(ErrorClass.UNKNOWN, "InternalError", 500, "it fails")

    producer.put("a", b"body")
    for attempt in (1, 2):
        wait_until(lambda: queue.sweep(max_attempts=2).due + queue.stats().ready["normal"], LIMIT, "it is ready again")
        (line,) = [line for line in run_batch(queue, fail, max_attempts=2) if line["event"] == "write_failed"]
        assert (line["attempt"], line["retry_in"] is None) == (attempt, attempt == 2)
    assert queue.stats().dead == 1


_SCRIPT = """
import logging, structlog
from structlog.contextvars import bound_contextvars
from penstock_worker import logs
logs.configure("info", "json")
logs.name_worker("host:1:abcd")
with bound_contextvars(claim="claim-1"):
    structlog.get_logger().info("ours", key="k")
    logging.getLogger("botocore").warning("theirs")
    logging.getLogger("botocore").info("too much")
structlog.get_logger().debug("too much")
"""


def test_lines_of_ours_and_of_libraries_have_the_same_form_and_name_worker_and_claim() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, check=True, timeout=60)
    ours, theirs = [json.loads(line) for line in done.stderr.splitlines()]
    for line, event, level in ((ours, "ours", "info"), (theirs, "theirs", "warning")):
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
        assert (line["event"], line["level"]) == (event, level)
        assert (line["worker"], line["claim"]) == ("host:1:abcd", "claim-1")
