"""Rules about what S3 answers, and how long it takes until writes are stored."""

from __future__ import annotations

from penstock_worker.alerts.rule import Group, Rule, Severity, total

_REQUESTS = "penstock_s3_write_requests_total"
_DELETE_REQUESTS = 'penstock_s3_write_requests_total{operation="delete"}'
_DELETED = 'penstock_writes_total{outcome="deleted"}'
_FAILED_DELETES = "penstock_failed_deletes_total"
_GOOD = 'penstock_writes_total{outcome=~"stored|deleted|repaired"}'
# Neither superseded nor released ones: a newer write of the key counts for the first, another claim for the second.
_ENDED = 'penstock_writes_total{outcome=~"stored|deleted|repaired|retried|dead|lease_lost"}'
_URGENT = '{priority=~"critical|high"}'


def _error_rate(alert: str, severity: Severity) -> Rule:
    window = f"s3_error_window_{severity}"
    return Rule(
        alert,
        severity,
        total("rate", _REQUESTS + '{outcome="error"}', window)
        + f"\n  / {total('rate', _REQUESTS, window)} > <s3_error_share_{severity}>\n"
        f"and {total('increase', _REQUESTS, window)} >= <least_requests>",
        "S3 fails too many requests",
        f"{{{{ $value | humanizePercentage }}}} of the requests to S3<which> failed in <{window}>.",
    )


def _latency(alert: str, severity: Severity) -> Rule:
    buckets = f"penstock_write_latency_seconds_bucket{_URGENT}[<s3_latency_window>]"
    count = f"penstock_write_latency_seconds_count{_URGENT}[<s3_latency_window>]"
    return Rule(
        alert,
        severity,
        f"histogram_quantile(0.95, sum by (namespace, queue, priority, le) (rate({buckets})))\n"
        f"  > <s3_latency_{severity}>\n"
        f"and sum by (namespace, queue, priority) (increase({count})) >= <least_requests>",
        "Writes of priority {{ $labels.priority }} are stored late",
        "The slowest 5 % of the writes of priority {{ $labels.priority }}<which> took {{ $value | humanizeDuration }}"
        " or more from accept to stored in <s3_latency_window>.",
    )


GROUP = Group(
    "penstock-s3",
    (
        _error_rate("PenstockS3HighErrorRate", "warning"),
        _error_rate("PenstockS3CriticalErrorRate", "critical"),
        _latency("PenstockS3HighLatency", "warning"),
        _latency("PenstockS3CriticalLatency", "critical"),
        Rule(
            "PenstockDeleteFailures",
            "warning",
            # By key, because one request may delete a thousand; the floor is in requests, so that one that failed
            # is none of many failures.
            f"{total('rate', _FAILED_DELETES, 'delete_failure_window')}\n"
            f"  / ({total('rate', _FAILED_DELETES, 'delete_failure_window')}\n"
            f"    + {total('rate', _DELETED, 'delete_failure_window')}) > <delete_failure_share>\n"
            f"and {total('increase', _DELETE_REQUESTS, 'delete_failure_window')} >= <least_requests>",
            "Too many deletes fail",
            "{{ $value | humanizePercentage }} of the deletes<which> failed in <delete_failure_window>.",
        ),
        Rule(
            "PenstockStoredShareLow",
            "warning",
            f"{total('rate', _GOOD, 'stored_share_window')}\n"
            f"  / {total('rate', _ENDED, 'stored_share_window')} < <stored_share>\n"
            f"and {total('increase', _ENDED, 'stored_share_window')} >= <least_requests>",
            "Too few claimed writes end up stored",
            "Only {{ $value | humanizePercentage }} of the writes<which> that workers claimed in <stored_share_window>"
            " were stored; the others are tried again or are dead.",
        ),
        Rule(
            "PenstockBucketSuspended",
            "critical",
            "max by (namespace, queue, bucket) (penstock_bucket_suspended) == 1",
            "Bucket {{ $labels.bucket }} is suspended",
            "The destination of bucket {{ $labels.bucket }}<which> has been broken for <bucket_suspended_for> or longer"
            " (penstock_bucket_suspended is {{ $value }}): its writes wait, and one at a time is tried.",
            "bucket_suspended_for",
        ),
    ),
)
