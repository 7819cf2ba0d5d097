"""The top of the dashboard: is it well? What is wrong is orange or red; the rows below say why."""

from __future__ import annotations

from monitoring.dashboard.expressions import SHORT, kept, kept_rate, quantile, rate, select
from monitoring.dashboard.panels import GREEN, RED, Query, Stat, Steps
from penstock_worker.alerts.thresholds import THRESHOLDS


def _as_alerted(orange: str, red: str) -> Steps:
    """From where on a number is orange, and red: as two alert rules begin by default."""
    return float(THRESHOLDS[orange].default), float(THRESHOLDS[red].default)


S3_ERRORS = _as_alerted("s3_error_share_warning", "s3_error_share_critical")
URGENT_SECONDS = _as_alerted("s3_latency_warning", "s3_latency_critical")
OLDEST_URGENT_SECONDS = _as_alerted("oldest_critical", "oldest_high")
OLDEST_SECONDS = _as_alerted("oldest_normal", "oldest_low")
FULL = _as_alerted("nearly_full_warning", "nearly_full_critical")
SKEW_SECONDS = _as_alerted("clock_skew_warning", "clock_skew_critical")

OLDEST = "penstock_queue_oldest_age_seconds"

REQUESTS = "penstock_s3_write_requests_total"
WAITING = kept("penstock_queue_writes", "state, priority", state="ready|delayed|inflight")
ITEMS_LIMIT = kept("penstock_queue_limit", unit="items")
PAUSED = kept("penstock_queue_paused")
ERROR_SHARE = f"{rate(REQUESTS, window=SHORT, outcome='error')} / {rate(REQUESTS, window=SHORT)}"
STORED = rate("penstock_writes_total", window=SHORT, outcome="stored|deleted")
ACCEPTED = f"sum({kept_rate('penstock_accepted_writes_total', 'priority', SHORT)})"
KNOWN = f"0 * {ITEMS_LIMIT}"
"""Zero while the queue can be read: a bucket that is not suspended has no series, and a Redis that is away has none
either, but is no good news."""
URGENT = quantile(0.95, "penstock_write_latency_seconds", window=SHORT, priority="critical|high")
SUSPENDED_BUCKETS = kept("penstock_bucket_suspended", "bucket")
SUSPENDED = f"count({SUSPENDED_BUCKETS} == 1) or {KNOWN}"
WORKERS = f"count({select('penstock_batch_items_count')}) or vector(0)"
SILENT = f"count({select('up')} == 0) or vector(0)"


def _full(unit: str) -> str:
    return f"{kept('penstock_queue_used', unit=unit)} / {kept('penstock_queue_limit', unit=unit)}"


WELL = (
    Stat(
        "Workers up",
        "Workers that Prometheus can read. None: nothing is uploaded, and writes wait in Redis.",
        "none",
        (Query(WORKERS, "workers"),),
        texts=(("0", "none", RED),),
    ),
    Stat(
        "Not answering",
        "Workers and exporters that Prometheus knows and cannot read: dead, hanging, or cut off.",
        "none",
        (Query(SILENT, "targets"),),
        steps=(1, 2),
    ),
    Stat(
        "S3 errors",
        "Share of the requests to S3 that failed in the last 5 minutes. A bucket that is suspended gets hardly any "
        "requests, so look at the next number too.",
        "percentunit",
        (Query(ERROR_SHARE, "errors"),),
        steps=S3_ERRORS,
        nothing="no requests",
        decimals=1,
    ),
    Stat(
        "Held up",
        "Suspended: buckets that get no more than a probe now and then, because what was sent there failed. They "
        "resume by themselves once S3 takes writes again. Paused: 1 while somebody has paused the whole queue.",
        "none",
        (Query(SUSPENDED, "suspended"), Query(PAUSED, "paused")),
        steps=(1, 1),
    ),
    Stat(
        "Oldest waiting write",
        "For how long the write that has waited longest has been ready: of the urgent ones (critical and high), and of "
        "the others.",
        "s",
        (
            Query(kept(OLDEST, priority="critical|high"), "urgent", steps=OLDEST_URGENT_SECONDS),
            Query(kept(OLDEST, priority="normal|low"), "others", steps=OLDEST_SECONDS),
        ),
        decimals=0,
    ),
    Stat(
        "Dead letters",
        "Writes that were given up and are kept for you: `penstock dead list` says why, `penstock dead retry` sends "
        "them again.",
        "short",
        (Query(kept("penstock_queue_writes", state="dead"), "writes"),),
        steps=(1, 1000),
    ),
    Stat(
        "Waiting writes",
        "Writes that are accepted and not yet in S3: ready, delayed or in flight.",
        "short",
        (Query(f"sum({WAITING})", "writes"),),
    ),
    Stat(
        "Queue full",
        "How much of the queue's limits is used. At 100 % producers get QueueFull, and their writes are not accepted.",
        "percentunit",
        (Query(_full("items"), "writes"), Query(_full("bytes"), "bytes")),
        steps=FULL,
        decimals=0,
    ),
    Stat(
        "In and out",
        "Writes a second that the queue accepted and that reached S3, over 5 minutes. Coalesced writes are accepted "
        "and never sent, so that out may stay below in for ever.",
        "wps",
        (Query(ACCEPTED, "in"), Query(STORED, "out")),
        decimals=0,
    ),
    Stat(
        "Urgent latency, p95",
        "Of 20 critical and high writes 19 were in S3 sooner after they were accepted. Over 5 minutes.",
        "s",
        (Query(URGENT, "p95"),),
        steps=URGENT_SECONDS,
        nothing="no writes",
    ),
    Stat(
        "Redis keeps writes",
        "Whether Redis has an append-only file and evicts nothing. NO: a restart of Redis, or a full memory, loses "
        "accepted writes.",
        "bool_yes_no",
        (Query(f"min({select('penstock_redis_durable')})", "durable"),),
        texts=(("0", "NO", RED), ("1", "yes", GREEN)),
    ),
    Stat(
        "Clock skew",
        "The most that a host's clock is off from Redis's, either way. Beyond 30 s a worker there sends nothing.",
        "s",
        (Query(f"max(abs({select('penstock_clock_skew_seconds')}))", "skew"),),
        steps=SKEW_SECONDS,
    ),
)  # fmt: skip
