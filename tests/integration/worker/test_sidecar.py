"""/metrics by the documented names and labels, /healthz, /readyz."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from tests.support.memory_s3 import STALL, MemoryS3, error
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

NONE: frozenset[str] = frozenset()
DOCUMENTED = {
    "penstock_batch_duration_seconds_count": {"outcome"},
    "penstock_batch_items_count": NONE,
    "penstock_batch_bytes_count": NONE,
    "penstock_batch_wait_seconds_count": NONE,
    "penstock_write_latency_seconds_count": {"priority"},
    "penstock_s3_write_requests_total": {"operation", "outcome"},
    "penstock_s3_write_duration_seconds_count": {"operation", "outcome"},
    "penstock_s3_errors_total": {"operation", "error_class", "code", "http_status"},
    "penstock_writes_total": {"outcome"},
    "penstock_accepted_writes_total": {"priority"},
    "penstock_coalesced_writes_total": {"priority"},
    "penstock_rejected_writes_total": {"reason"},
    "penstock_body_bytes_total": NONE,
    "penstock_stored_bytes_total": NONE,
    "penstock_queue_writes": {"state", "priority"},
    "penstock_queue_bytes": NONE,
    "penstock_queue_limit": {"unit"},
    "penstock_queue_used": {"unit"},
    "penstock_queue_set_aside": NONE,
    "penstock_queue_paused": NONE,
    "penstock_epoch_seconds_left": NONE,
    "penstock_failed_deletes_total": NONE,
    "penstock_queue_oldest_age_seconds": {"priority"},
    "penstock_redis_durable": NONE,
    "penstock_clock_skew_seconds": NONE,
}


def test_metrics_have_the_documented_names_and_labels_and_count_what_happened(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: error(400, "InvalidTag") if request.key == "bad" else None
    producer.put_many([Write(key=f"{n}", body=b"a" * 1000, priority="high", tenant="secret-tenant") for n in range(9)])
    producer.put("bad", b"body")
    producer.put("bad", b"body again")
    producer.delete("not-there", priority="low")
    worker = start_worker()
    wait_until_drained(queue)
    metrics = worker.told().metrics()
    for sample, labels in DOCUMENTED.items():
        assert metrics.labels(sample) == {frozenset(labels)}, sample
    value = metrics.value
    assert value("penstock_batch_items_sum") == 11
    assert value("penstock_batch_bytes_sum") > 9000
    assert value("penstock_batch_duration_seconds_count", outcome="partial") == 1
    assert value("penstock_write_latency_seconds_count", priority="high") == 9
    assert value("penstock_write_latency_seconds_count", priority="low") == 1
    assert value("penstock_s3_write_requests_total", operation="put", outcome="ok") == 9
    assert value("penstock_s3_write_requests_total", operation="put", outcome="error") == 1
    assert value("penstock_s3_write_duration_seconds_count", operation="delete", outcome="ok") == 1
    assert value(
        *("penstock_s3_errors_total",), operation="put", error_class="permanent", code="InvalidTag", http_status="400"
    ) == 1  # fmt: skip
    outcomes = {name: value("penstock_writes_total", outcome=name) for name in ("stored", "deleted", "dead", "retried")}
    assert outcomes == {"stored": 9, "deleted": 1, "dead": 1, "retried": 0}
    assert value("penstock_accepted_writes_total") == 12
    assert value("penstock_coalesced_writes_total", priority="normal") == 1
    assert value("penstock_body_bytes_total") == 9000
    assert 0 < value("penstock_stored_bytes_total") < 1000
    assert value("penstock_queue_writes", state="dead") == 1
    assert value("penstock_queue_limit", unit="items") == 1_000_000
    assert value("penstock_queue_used", unit="items") == 0
    assert value("penstock_queue_used", unit="dead_bytes") == queue.stats().dead_bytes > 0
    page = worker.get("/metrics")[1].decode()
    assert "secret-tenant" not in page
    naming = {one.name for family in metrics.families.values() for one in family.samples if BUCKET in str(one.labels)}
    assert naming <= {"penstock_upload_concurrency", "penstock_bucket_suspended"}, "by bucket only what is documented"


def test_metrics_show_what_waits_and_what_is_in_flight(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    worker = start_worker(request_timeout=LIMIT, batch_max_wait=3600)
    producer.put("critical", b"body", priority="critical")
    wait_until(lambda: len(sink.puts()) == 1, LIMIT, "one is in flight")
    producer.put_many([Write(key=f"{n}", body=b"body", priority="low") for n in range(7)])
    metrics = worker.metrics()
    assert metrics.value("penstock_queue_writes", state="inflight") == 1
    assert metrics.value("penstock_queue_writes", state="ready", priority="low") == 7
    assert metrics.value("penstock_queue_writes", state="ready", priority="high") == 0
    assert metrics.value("penstock_queue_oldest_age_seconds", priority="low") > 0
    assert metrics.value("penstock_queue_oldest_age_seconds", priority="critical") == 0
    assert metrics.value("penstock_queue_bytes") > 8 * 4


def test_health_is_json_with_reasons_and_unknown_paths_are_not_found(
    start_worker: Callable[..., WorkerProcess],
) -> None:
    worker = start_worker()
    for path in ("/healthz", "/readyz"):
        status, body = worker.get(path)
        assert (status, json.loads(body)) == (200, {"ok": True, "reasons": []})
    assert worker.get("/")[0] == 404
    assert worker.sidecar.startswith("127.0.0.1:")


def test_a_worker_that_is_stopping_is_alive_and_not_ready(
    producer: Producer, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    worker = start_worker(request_timeout=LIMIT, stop_timeout=LIMIT)
    producer.put("key", b"body", priority="critical")
    wait_until(lambda: sink.puts(), LIMIT, "it is in flight")
    worker.terminate()
    wait_until(lambda: worker.events("worker_stopping"), LIMIT, "the stop has begun")
    status, body = worker.get("/readyz")
    assert (status, json.loads(body)["reasons"]) == (503, ["the worker is stopping"])
    assert worker.get("/healthz")[0] == 200
    sink.release()
    assert worker.wait() == 0
