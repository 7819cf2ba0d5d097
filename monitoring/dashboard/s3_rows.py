"""What S3 answers, and what batches are made of."""

from __future__ import annotations

from monitoring.dashboard.expressions import mean, quantile, rate, select
from monitoring.dashboard.panels import BLUE, GREEN, GREY, ORANGE, RED, Graph, Query
from monitoring.dashboard.well import PAUSED, REQUESTS, SUSPENDED_BUCKETS

DURATION = "penstock_s3_write_duration_seconds"
BATCH = "penstock_batch_duration_seconds"
ERRORS = rate("penstock_s3_errors_total", "error_class, code, http_status")


def _quantiles(histogram: str, **labels: str) -> tuple[Query, ...]:
    shares = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    return tuple(Query(quantile(share, histogram, **labels), name) for share, name in shares)


S3 = (
    Graph(
        "Requests to S3",
        "Requests a second, by what they do and how they ended. Many deletes go in one request.",
        "reqps",
        (Query(rate(REQUESTS, "operation, outcome"), "{{operation}} {{outcome}}"),),
        colours=(("put ok", GREEN), ("put error", RED), ("delete ok", BLUE), ("delete error", ORANGE)),
    ),
    Graph(
        "S3 errors by code",
        "Errors a second, with their class: throttle and environment cost no attempt, transient and unknown are tried "
        "again, permanent ones are dead at once. Empty while nothing failed yet; the first of a code may not show.",
        "cps",
        (Query(ERRORS, "{{code}} {{http_status}} ({{error_class}})"),),
        stacked=True,
    ),
    Graph(
        "Duration of a put",
        "One request, without the wait in the queue. It is cut off at PENSTOCK_REQUEST_TIMEOUT and some more for large "
        "bodies.",
        "s",
        _quantiles(DURATION, operation="put"),
    ),
    Graph(
        "Suspended and paused",
        "1 while a bucket gets nothing but probes, because its destination is broken; without a line it is well. And 1 "
        "while somebody has paused the whole queue.",
        "none",
        (Query(SUSPENDED_BUCKETS, "{{bucket}}"), Query(PAUSED, "the whole queue is paused")),
        highest=1,
        stepped=True,
        span=6,
        colours=(("the whole queue is paused", GREY),),
    ),
    Graph(
        "Upload concurrency",
        "Requests that all workers together may have in flight to a bucket. Each worker finds out how many the bucket "
        "bears, and takes fewer after throttling or when requests get slow.",
        "none",
        (Query(f"sum by (bucket) ({select('penstock_upload_concurrency')})", "{{bucket}}"),),
        stepped=True,
        span=6,
    ),
    Graph(
        "Duration of a delete",
        "One request, of up to 1,000 keys.",
        "s",
        _quantiles(DURATION, operation="delete"),
        span=6,
    ),
    Graph(
        "Failed deletes",
        "Deletes a second that S3 did not carry out, by key: a request of many may succeed although some of its keys "
        "fail. They are tried again. Zero is normal.",
        "cps",
        (Query(rate("penstock_failed_deletes_total"), "failed"),),
        span=6,
    ),
)  # fmt: skip

BATCHES = (
    Graph(
        "Writes by outcome",
        "How claimed writes ended. Normal: stored, deleted, superseded. Retried: an error that is tried again. "
        "Released: given back, by a worker that stops or of a suspended bucket. Lease lost: the worker was too slow or "
        "frozen.",
        "wps",
        (Query(rate("penstock_writes_total", "outcome"), "{{outcome}}"),),
        stacked=True,
        span=12,
        colours=(("retried", ORANGE), ("lease_lost", "purple"), ("released", GREY), ("deleted", BLUE)),
    ),
    Graph(
        "Batches by outcome",
        "Batches a second. Ok: all stored. Partial: some. Failed: none. Released: given back unsent.",
        "cps",
        (Query(rate(f"{BATCH}_count", "outcome"), "{{outcome}}"),),
        stacked=True,
        span=12,
        colours=(("partial", ORANGE), ("released", GREY)),
    ),
    Graph(
        "Batch size",
        "Writes a batch. Up to PENSTOCK_BATCH_MAX_ITEMS under load, a few when little is to do; deletes may be more.",
        "short",
        (Query(mean("penstock_batch_items"), "mean"), *_quantiles("penstock_batch_items")),
        span=6,
    ),
    Graph(
        "Batch bytes",
        "Bytes of bodies a batch, up to PENSTOCK_BATCH_MAX_BYTES.",
        "bytes",
        (Query(mean("penstock_batch_bytes"), "mean"), *_quantiles("penstock_batch_bytes")),
        span=6,
    ),
    Graph(
        "Batch duration",
        "From the claim until Redis knows how each write ended. Far above the duration of a put: the worker is short "
        "of CPU, or Redis is slow.",
        "s",
        _quantiles(BATCH),
        span=6,
    ),
    Graph(
        "Wait before the claim",
        "How long the oldest write of a batch was in the queue. Around PENSTOCK_BATCH_MAX_WAIT when little is to do; "
        "more means that workers cannot keep up.",
        "s",
        _quantiles("penstock_batch_wait_seconds"),
        span=6,
    ),
)
