"""Each class of failure does to a write what section 5 of the design says, and to its batchmates nothing."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from tests.support.memory_s3 import RESET, STALL, MemoryS3, Request, Trouble, error
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, COMMAND, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""


@dataclass(frozen=True)
class Case:
    trouble: Trouble
    error_class: str
    code: str
    status: int | None
    counted: bool = True


PASSING = {
    "slow-down": Case(error(503, "SlowDown"), "throttle", "SlowDown", 503, counted=False),
    "too-many": Case(error(429, "TooManyRequests"), "throttle", "TooManyRequests", 429, counted=False),
    "conflict": Case(error(409, "ConditionalRequestConflict"), "transient", "ConditionalRequestConflict", 409),
    "bad-digest": Case(error(400, "BadDigest"), "transient", "BadDigest", 400),
    "internal": Case(error(500, "InternalError"), "unknown", "InternalError", 500),
    "bad-gateway": Case(error(502, "BadGateway"), "unknown", "BadGateway", 502),
    "unavailable": Case(error(503, "ServiceUnavailable"), "unknown", "ServiceUnavailable", 503),
    "gateway-timeout": Case(error(504, "GatewayTimeout"), "unknown", "GatewayTimeout", 504),
    "reset": Case(RESET, "unknown", "ConnectionReset", None),
    "silent": Case(STALL, "unknown", "Timeout", None),
}
PERMANENT = {
    "key-too-long": Case(error(400, "KeyTooLongError"), "permanent", "KeyTooLongError", 400),
    "bad-tag": Case(error(400, "InvalidTag"), "permanent", "InvalidTag", 400),
    "too-large": Case(error(400, "EntityTooLarge"), "permanent", "EntityTooLarge", 400),
    "bad-argument": Case(error(400, "InvalidArgument"), "permanent", "InvalidArgument", 400),
}
ENVIRONMENT = {
    "denied": Case(error(403, "AccessDenied"), "environment", "AccessDenied", 403, counted=False),
    "bucket-gone": Case(error(404, "NoSuchBucket"), "environment", "NoSuchBucket", 404, counted=False),
    "wrong-key-id": Case(error(403, "InvalidAccessKeyId"), "environment", "InvalidAccessKeyId", 403, counted=False),
    "wrong-secret": Case(
        error(403, "SignatureDoesNotMatch"), "environment", "SignatureDoesNotMatch", 403, counted=False
    ),
    "expired": Case(error(400, "ExpiredToken"), "environment", "ExpiredToken", 400, counted=False),
    "skewed": Case(error(403, "RequestTimeTooSkewed"), "environment", "RequestTimeTooSkewed", 403, counted=False),
}  # fmt: skip


def neighbours(bucket: str, count: int = 30) -> list[Write]:
    return [Write(key=f"good-{n}", body=b"body", bucket=bucket) for n in range(count)]


def check_log_and_metrics(worker: WorkerProcess, cases: dict[str, Case]) -> None:
    failed = {line["key"]: line for line in reversed(worker.told().events("write_failed"))}  # the first of each
    metrics = worker.metrics()
    for key, case in cases.items():
        line = failed[key]
        assert (line["error_class"], line["code"], line["http_status"]) == (case.error_class, case.code, case.status)
        assert line["counted"] == case.counted, key
        status = "none" if case.status is None else str(case.status)
        labels = {"error_class": case.error_class, "code": case.code, "http_status": status, "operation": "put"}
        assert metrics.value("penstock_s3_errors_total", **labels) >= 1, key


def test_what_passes_is_tried_again_and_stored(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    met: set[tuple[str, str]] = set()

    def judge(request: Request) -> Trouble | None:
        place = (request.bucket, request.key)
        if place in met or request.key not in PASSING:
            return None
        met.add(place)
        return PASSING[request.key].trouble

    sink.judge = judge
    worker = start_worker(request_timeout=0.5)
    # A bucket each, with others that succeed: many failures of one bucket would be an outage.
    for key in PASSING:
        producer.put_many([*neighbours(f"for-{key}"), Write(key=key, body=b"body", bucket=f"for-{key}")])
    assert wait_until_drained(queue).dead == 0
    assert len(sink.objects) == len(PASSING) * 31
    assert {key: len(sink.puts(key)) for key in PASSING} == dict.fromkeys(PASSING, 2)
    check_log_and_metrics(worker, PASSING)
    assert worker.told().metrics().value("penstock_writes_total", outcome="retried") == len(PASSING)


def test_a_permanent_fault_dead_letters_its_write_at_once_and_alone(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: PERMANENT[request.key].trouble if request.key in PERMANENT else None
    producer.put_many([*neighbours(BUCKET), *(Write(key=key, body=b"12345", tenant="t") for key in PERMANENT)])
    worker = start_worker()
    assert wait_until_drained(queue).dead == len(PERMANENT)
    assert len(sink.objects) == 30
    letters = {letter.key: letter for letter in queue.dead_letters()}
    for key, case in PERMANENT.items():
        failure = letters[key].failure
        assert (failure.error_class, failure.code, failure.http_status) == (case.error_class, case.code, case.status)
        assert failure.message == "said by the test"
        assert (letters[key].attempts, letters[key].tenant, len(sink.puts(key))) == (1, "t", 1)
    check_log_and_metrics(worker, PERMANENT)
    assert worker.told().metrics().value("penstock_writes_total", outcome="dead") == len(PERMANENT)


def test_a_fault_of_the_environment_counts_no_attempt(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    buckets = {f"for-{key}": case for key, case in ENVIRONMENT.items()}
    sink.judge = lambda request: buckets[request.bucket].trouble
    producer.put_many([Write(key=key, body=b"body", bucket=f"for-{key}") for key in ENVIRONMENT])
    worker = start_worker(max_attempts=1)
    wait_until(lambda: queue.stats().delayed == len(ENVIRONMENT), LIMIT, "each has failed and waits")
    assert queue.stats().dead == 0
    assert not sink.objects
    check_log_and_metrics(worker, ENVIRONMENT)


def test_a_bucket_that_is_not_on_the_allow_list_is_left_alone(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    producer.put("allowed", b"body")
    producer.put("not-allowed", b"body", bucket="somebody-elses")
    producer.delete("not-allowed-either", bucket="somebody-elses")
    worker = start_worker(allowed_buckets=f"{BUCKET}, another", max_attempts=1)
    wait_until(lambda: queue.stats().delayed == 2 and sink.objects, LIMIT, "both were put off")
    assert {(one.bucket, one.key) for one in sink.requests} == {(BUCKET, "allowed")}
    assert {line["code"] for line in worker.events("write_failed")} == {"BucketNotAllowed"}
    assert queue.stats().dead == 0


def test_a_newer_write_of_a_failing_key_is_stored_and_the_dead_letter_goes(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: error(400, "InvalidTag") if request.body == b"bad" else None
    start_worker()
    producer.put("key", b"bad", priority="critical")
    wait_until(lambda: queue.stats().dead == 1, LIMIT, "it is dead-lettered")
    producer.put("key", b"good", priority="critical")
    wait_until_drained(queue)
    assert sink.objects[BUCKET, "key"].body == b"good"
    assert queue.stats().dead == 0


def test_a_put_whose_answer_was_lost_is_sent_again_and_ends_as_the_last_version(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    lost = {b"first"}

    def judge(request: Request) -> Trouble | None:
        if request.body not in lost:
            return None
        lost.clear()
        producer.put("key", b"second", priority="critical")  # while the first is in flight
        return Trouble(applied=True)

    sink.judge = judge
    start_worker()
    producer.put("key", b"first", priority="critical")
    wait_until(lambda: (found := sink.objects.get((BUCKET, "key"))) and found.body == b"second", LIMIT, "the second")
    wait_until_drained(queue)
    assert [one.body for one in sink.puts("key")] == [b"first", b"second"]


def test_a_worker_whose_log_cannot_be_written_loses_lines_and_nothing_else(
    producer: Producer, queue: Queue, sink: MemoryS3, env: Mapping[str, str]
) -> None:
    denied = error(403, "AccessDenied")
    sink.judge = lambda request: denied
    producer.put_many(neighbours(BUCKET))
    settings = {"PENSTOCK_MAX_ATTEMPTS": "1", "PENSTOCK_LOG_LEVEL": "debug"}
    with Path("/dev/full").open("w") as full:
        worker = subprocess.Popen([*COMMAND, "worker"], env={**env, **settings}, stderr=full)
    try:
        wait_until(lambda: queue.stats().suspended, LIMIT, "the bucket is suspended")
        sink.judge = lambda request: None
        assert wait_until_drained(queue).dead == 0
        assert len(sink.objects) == 30
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT) == 0
    finally:
        worker.kill()
        worker.wait()
