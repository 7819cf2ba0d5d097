"""The summary for people, readable at 80 columns."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from penstock_worker.cli.common import in_bytes, in_seconds
from penstock_worker.demo.enqueue import THREADS
from penstock_worker.demo.summary import Summary
from penstock_worker.quantiles import quantile


def report(summary: Summary) -> Group:
    return Group("", _writes(summary), "", _latencies(summary), "", *_verdict(summary))


def _writes(summary: Summary) -> Table:
    writes, enqueued, numbers = summary.numbers.writes, summary.enqueued, summary.numbers
    saved = 1 - numbers.stored_bytes / numbers.body_bytes if numbers.body_bytes else 0.0
    median, slow = (quantile(share, enqueued.call_seconds) for share in (0.50, 0.99))
    rows = [
        ("accepted", f"{summary.accepted:,}", f"writes in {in_seconds(enqueued.seconds)}, from {THREADS} threads"),
        ("coalesced", f"{summary.coalesced:,}", "a newer write took their place while they waited"),
        ("stored", f"{writes['stored']:,}", "uploads"),
        ("deleted", f"{writes['deleted']:,}", ""),
        ("retried", f"{writes['retried']:,}", f"{numbers.s3_errors:,} errors of S3" if numbers.s3_errors else ""),
        ("dead", f"{summary.stats.dead:,}", ""),
        ("bytes before", in_bytes(numbers.body_bytes), "of the uploads"),
        ("bytes after", in_bytes(numbers.stored_bytes), f"{saved:.0%} saved by zstd"),
        ("accept p50", _in_milliseconds(median), "a put or delete, until it is safe in Redis"),
        ("accept p99", _in_milliseconds(slow), "the worker and both servers share the processors"),
        ("writes/s", f"{summary.uploaded / summary.work_seconds:,.0f}", "uploaded; moto, the S3 of this demo, is slow"),
    ]
    if writes["superseded"]:
        rows.insert(5, ("superseded", f"{writes['superseded']:,}", "failed, and a newer write was there"))
    if enqueued.full:
        rows.insert(1, ("refused", f"{enqueued.full:,}", "times: the queue was full. Put again later"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*row)
    return table


def _latencies(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("accept to stored", "writes", "about p50", "about p99"):
        table.add_column(heading, justify="left" if heading == "accept to stored" else "right", no_wrap=True)
    for priority, row in summary.latencies().items():
        table.add_row(priority, f"{row['writes']:,}", in_seconds(row["p50"]), in_seconds(row["p99"]))
    return table


def _verdict(summary: Summary) -> list[Text]:
    lines = [Text(f"sidecar  {summary.sidecar}/metrics")]
    for reason, count in sorted(summary.skipped.items()):
        lines.append(Text(f"skipped {count:,}: {reason}", style="yellow"))
    if summary.stats.contested:
        contested = f"{summary.stats.contested:,} names are contested: a request of theirs had no answer"
        lines.append(Text(contested, style="yellow"))
    lines += [Text(f"WRONG: {problem}", style="bold red") for problem in summary.problems]
    if not summary.problems:
        lines.append(
            Text(f"all {summary.verified.right:,} objects equal their files, and nothing is left", "bold green")
        )
    return lines


def _in_milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:.2f} ms"
