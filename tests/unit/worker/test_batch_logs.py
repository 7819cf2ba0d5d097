"""What a worker's lines say about a batch and its writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from penstock import Producer
from penstock.queue.client import Queue
from penstock_worker.stores import ErrorClass, PutRequest, StoreFault
from penstock_worker.sweeper import Sweeper
from penstock_worker.upload import Uploader
from tests.support.worker_parts import CallStore, Parts

pytestmark = pytest.mark.integration

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01"


def refuse_b(request: PutRequest) -> None:
    if request.key == "b":
        raise StoreFault(ErrorClass.PERMANENT, "InvalidTag", 400, "the tag is not valid")


def run_batch(queue: Queue, put: Callable[[PutRequest], None] = refuse_b) -> list[Any]:
    """The lines of one batch of all that is ready."""
    parts = Parts(queue)
    sweeper = Sweeper(queue, parts.beats, parts.metrics, lease=15, max_attempts=8)
    uploader = Uploader(queue, CallStore(put), parts.settings, parts.held, parts.metrics, sweeper)
    try:
        with capture_logs() as lines:
            claim = parts.claim()
            uploader.run(claim)
            parts.ack(claim)
    finally:
        uploader.close()
    return lines


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
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    try:
        assert {line["event"] for line in run_batch(queue)} == {"batch"}
    finally:
        structlog.configure(wrapper_class=before)
