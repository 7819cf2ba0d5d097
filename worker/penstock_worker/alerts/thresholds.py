"""What operators may change in the rules: each threshold by name, with its default, its range and a sentence."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Value = float | str
"""A share or a number; a duration or a text is a str."""

Unit = Literal["share", "seconds", "writes", "requests", "duration", "text"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
DURATION_PATTERN = "^[0-9]{1,6}[smhd]$"


@dataclass(frozen=True, slots=True)
class Threshold:
    """One value of the rules.

    ``least`` and ``most`` bound it, both included; a duration's are durations. ``pattern`` is what a text must match
    wholly: it keeps quotes and braces out of the rules.
    """

    name: str
    default: Value
    unit: Unit
    least: Value | None
    most: Value | None
    sentence: str
    pattern: str | None = None

    def parse(self, given: str) -> Value:
        """The value that ``given`` names. Raises ValueError, which says what is right."""
        if self.unit == "text":
            if self.pattern is None or not re.fullmatch(self.pattern, given):
                raise ValueError(f"{given!r} does not match {self.pattern}")
            return given
        if self.unit == "duration":
            number: float = seconds(given)
            low, high = float(seconds(str(self.least))), float(seconds(str(self.most)))
        else:
            try:
                number = float(given)
            except ValueError:
                raise ValueError(f"{given!r} is not a number") from None
            low, high = float(self.least or 0), float(self.most or 0)
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError(f"{given!r} is not between {shown(self.least)} and {shown(self.most)}")
        return given if self.unit == "duration" else number


def seconds(duration: str) -> int:
    """The seconds of a duration such as 90s, 5m, 1h or 1d. Raises ValueError."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"{duration!r} is not a duration such as 30s, 5m, 1h or 1d")
    return int(match[1]) * _SECONDS[match[2]]


def shown(value: Value | None) -> str:
    """A value as rules, YAML and people read it: 0.05, 1000, 5m."""
    return value if isinstance(value, str) else f"{value or 0:.12g}"


def _share(name: str, default: float, sentence: str) -> Threshold:
    return Threshold(name, default, "share", 0.0, 1.0, sentence)


def _seconds(name: str, default: float, sentence: str, most: float = 604800.0) -> Threshold:
    return Threshold(name, default, "seconds", 0.0, most, sentence)


def _window(name: str, default: str, sentence: str) -> Threshold:
    return Threshold(name, default, "duration", "5s", "7d", sentence)


def _for(name: str, default: str, sentence: str) -> Threshold:
    return Threshold(name, default, "duration", "0s", "7d", sentence)


THRESHOLDS: dict[str, Threshold] = {
    one.name: one
    for one in (
        Threshold("least_requests", 10.0, "requests", 1.0, 1e9, "Fewer in a window say nothing of a share or latency."),
        _share("s3_error_share_warning", 0.05, "Share of failed requests to S3 that warns."),
        _window("s3_error_window_warning", "5m", "The window of the share that warns."),
        _share("s3_error_share_critical", 0.1, "Share of failed requests to S3 that is critical."),
        _window("s3_error_window_critical", "1m", "The window of the share that is critical."),
        _seconds("s3_latency_warning", 10.0, "p95 from accept to stored of critical or high writes that warns."),
        _seconds("s3_latency_critical", 30.0, "p95 from accept to stored of critical or high writes that is critical."),
        _window("s3_latency_window", "5m", "The window of both of these latencies."),
        _share("delete_failure_share", 0.02, "Share of deletes that fail."),
        _window("delete_failure_window", "10m", "The window of the share of deletes."),
        _share("stored_share", 0.95, "Least share of claimed writes that end up stored."),
        _window("stored_share_window", "10m", "The window of the stored share."),
        _for("bucket_suspended_for", "2m", "How long a bucket is suspended before it is told."),
        Threshold("backlog_writes", 1000.0, "writes", 1.0, 1e9, "Fewer waiting writes are no backlog."),
        _window("backlog_window", "10m", "A backlog grows when it is larger than so long ago."),
        _for("backlog_for", "15m", "How long a backlog grows before it is told."),
        _seconds("oldest_critical", 60.0, "Age at which the oldest ready write of priority critical is too old."),
        _seconds("oldest_high", 300.0, "Age at which the oldest ready write of priority high is too old."),
        _seconds("oldest_normal", 900.0, "Age at which the oldest ready write of priority normal is too old."),
        _seconds("oldest_low", 3600.0, "Age at which the oldest ready write of priority low is too old."),
        _for("oldest_for", "1m", "How long a write is too old before it is told."),
        _share("nearly_full_warning", 0.8, "Used share of a limit of the queue that warns."),
        _share("nearly_full_critical", 0.95, "Used share of a limit of the queue that is critical."),
        _for("nearly_full_for", "1m", "How long the queue is that full before it is told."),
        _window("dead_letters_window", "15m", "For how long a new dead letter is told."),
        _window("no_claims_window", "5m", "How long writes are ready while no batch ends."),
        _for("worker_missing_for", "2m", "How long a queue has no worker before it is told."),
        Threshold(
            "worker_missing_writes", 0.0, "writes", 0.0, 1e9,
            "Unfinished writes without which a missing worker is fine: 0 never, 1 where workers scale to zero.",
        ),
        _for("target_down_for", "5m", "How long one worker or exporter cannot be scraped before it is told."),
        _window("target_memory", "1d", "How long a worker, exporter or queue that is gone is remembered."),
        _for("redis_unreachable_for", "1m", "How long nobody reads the queue from Redis before it is told."),
        _for("redis_not_durable_for", "5m", "How long Redis may lose writes before it is told."),
        _seconds("clock_skew_warning", 10.0, "Difference of a host's clock from Redis's that warns."),
        _seconds("clock_skew_critical", 30.0, "Difference that is critical: beyond 30 s a worker claims nothing."),
        _for("clock_skew_for", "2m", "How long the clocks differ so much before it is told."),
        _seconds("spool_age", 300.0, "Age at which the oldest write of a host's spool is too old."),
        _for("spool_for", "1m", "How long it is too old, or a file of it set aside, before it is told."),
        _share("redis_disk_warning", 0.8, "Used share of the disk of Redis's append-only file that warns."),
        _share("redis_disk_critical", 0.9, "Used share of that disk that is critical."),
        _for("redis_disk_for", "5m", "How long that disk is that full before it is told."),
        Threshold(
            "redis_disk_mountpoint", "/var/lib/redis|/var/lib/valkey", "text", None, None,
            "Where that disk is mounted, as node_exporter says it; several places are joined by `|`.",
            pattern=r"/[A-Za-z0-9_./-]*(\|/[A-Za-z0-9_./-]*)*",
        ),
        Threshold(
            "runbook_url", "docs/runbook.md", "text", None, None,
            "Address of your copy of the runbook; `#` and the alert's name in lower case are added.",
            pattern=r"[A-Za-z0-9_.:@%?=&~+-]*/[A-Za-z0-9_./:@%?=&~+-]*",
        ),
    )
}  # fmt: skip
