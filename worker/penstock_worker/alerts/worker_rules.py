"""Rules about workers, and about the Redis and the clocks they rely on."""

from __future__ import annotations

from penstock_worker.alerts.rule import Group, Rule, Severity, held, total

_WORKERS = 'penstock_writes_total{outcome="stored"}'
"""One series of each worker, and of nobody else."""
_QUEUES = 'penstock_queue_limit{unit="items"}'
"""One series of each worker and exporter that can read the queue."""
_SEEN = f"last_over_time({_QUEUES}[<target_memory>])"
_BATCHES = "penstock_batch_duration_seconds_count"
_DISK = '{mountpoint=~"<redis_disk_mountpoint>"}'


def _clock_skew(severity: Severity) -> Rule:
    return Rule(
        "PenstockClockSkew",
        severity,
        f"max by (namespace, queue, instance, pod) (abs(penstock_clock_skew_seconds)) > <clock_skew_{severity}>",
        "The clock of {{ $labels.instance }} is wrong",
        "The clock of {{ $labels.instance }} is {{ $value | humanizeDuration }} from Redis's; beyond 30 s a worker"
        " claims nothing.",
        "clock_skew_for",
    )


def _redis_disk(severity: Severity) -> Rule:
    return Rule(
        "PenstockRedisDiskNearlyFull",
        severity,
        f"1 - node_filesystem_avail_bytes{_DISK}\n  / node_filesystem_size_bytes{_DISK} > <redis_disk_{severity}>",
        "The disk of Redis on {{ $labels.instance }} is nearly full",
        "{{ $value | humanizePercentage }} of {{ $labels.mountpoint }} on {{ $labels.instance }} is used; when it is"
        " full, Redis cannot write its append-only file and refuses writes.",
        "redis_disk_for",
    )


WORKERS = Group(
    "penstock-workers",
    (
        Rule(
            "PenstockWorkerDown",
            "critical",
            # A queue that was seen lately and has no worker, or nothing at all of Penstock's.
            f"count by (namespace, queue) ({_SEEN})\n"
            f"  unless count by (namespace, queue) ({_WORKERS})\n"
            f"  unless {held('ready|delayed|inflight')} < <worker_missing_writes>\n"
            f"or absent_over_time(penstock_queue_limit[<target_memory>])\n"
            f"  unless on () group({_WORKERS})",
            "No worker answers",
            "Prometheus reaches 0 workers<which>, and so for <worker_missing_for>: accepted writes wait in Redis.",
            "worker_missing_for",
        ),
        Rule(
            "PenstockWorkerDown",
            "warning",
            f"up == 0 and on (job, instance) {_SEEN}",
            "{{ $labels.instance }} does not answer",
            "A worker or exporter<which>, {{ $labels.job }} on {{ $labels.instance }}, has not been scraped for"
            " <target_down_for> (up is {{ $value }}).",
            "target_down_for",
        ),
        Rule(
            "PenstockNoClaims",
            "critical",
            # What claims must leave alone is no backlog: the flows of suspended and paused buckets, a paused queue.
            f"{held('ready')}\n"
            "  - max by (namespace, queue) (penstock_queue_set_aside) > 0\n"
            "unless max by (namespace, queue) (penstock_queue_paused) == 1\n"
            f"unless {total('increase', _BATCHES, 'no_claims_window')} > 0",
            "Nothing is claimed",
            "{{ $value | humanize }} writes<which> are ready, and no batch has ended in <no_claims_window>.",
            "no_claims_window",
        ),
    ),
)

REDIS = Group(
    "penstock-redis",
    (
        Rule(
            "PenstockRedisUnreachable",
            "critical",
            f"(\n  count by (namespace, queue) ({_WORKERS})\n"
            f"  or count by (namespace, queue) (up == 1 and on (job, instance) {_SEEN})\n)\n"
            f"unless count by (namespace, queue) ({_QUEUES})",
            "Nobody reaches Redis",
            "{{ $value }} workers or exporters<which> answer, and none has read the queue from Redis for"
            " <redis_unreachable_for>: producers cannot put.",
            "redis_unreachable_for",
        ),
        Rule(
            "PenstockRedisNotDurable",
            "critical",
            "min by (namespace, queue) (penstock_redis_durable) == 0",
            "Redis may lose accepted writes",
            "The Redis<which> writes no append-only file, or throws keys away when its memory is full"
            " (penstock_redis_durable is {{ $value }}).",
            "redis_not_durable_for",
        ),
        _clock_skew("warning"),
        _clock_skew("critical"),
        Rule(
            "PenstockSpoolOld",
            "warning",
            "max by (namespace, queue, instance, pod) (penstock_spool_oldest_age_seconds) > <spool_age>",
            "Accepted writes wait on {{ $labels.instance }}",
            "The oldest write in the spool of {{ $labels.instance }} is {{ $value | humanizeDuration }} old: it is on"
            " that host's disk alone, and not in Redis.",
            "spool_for",
        ),
        Rule(
            "PenstockSpoolUnreadable",
            "warning",
            "min by (namespace, queue, instance, pod) (penstock_spool_readable) == 0",
            "The spool of {{ $labels.instance }} cannot be read",
            "{{ $value }} of 1 spool of {{ $labels.instance }} can be read by its exporter: nobody sees whether"
            " accepted writes wait there.",
            "spool_for",
        ),
        Rule(
            "PenstockSpoolSetAside",
            "warning",
            "max by (namespace, queue, instance, pod) (penstock_spool_files_aside) > 0",
            "Accepted writes may be lost on {{ $labels.instance }}",
            "{{ $value }} files of the spool of {{ $labels.instance }} could not be read and were set aside: what they"
            " hold is not replayed.",
            "spool_for",
        ),
        _redis_disk("warning"),
        _redis_disk("critical"),
    ),
)
