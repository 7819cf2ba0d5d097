"""What the demo found out, and its form for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Stats
from penstock_worker.demo.enqueue import THREADS, Enqueued
from penstock_worker.demo.files import Found
from penstock_worker.demo.scrape import WorkerNumbers
from penstock_worker.demo.verify import Verified
from penstock_worker.quantiles import histogram_quantile, quantile

SHOWN_KEYS = 5
"""Of objects that are not as they should be; --json names all."""


@dataclass(frozen=True, slots=True)
class Summary:
    """``stats`` and ``numbers``: the queue's and the worker's own counters, at the end.

    ``work_seconds``: from the first write to the empty queue.
    """

    directory: Path
    found: Found
    enqueued: Enqueued
    stats: Stats
    numbers: WorkerNumbers
    verified: Verified
    work_seconds: float
    sidecar: str

    @property
    def accepted(self) -> int:
        return sum(self.stats.accepted.values())

    @property
    def coalesced(self) -> int:
        return sum(self.stats.coalesced.values())

    @property
    def left(self) -> int:
        return self.stats.unfinished + self.stats.parked

    @property
    def uploaded(self) -> int:
        """Writes that reached S3: puts and deletes."""
        return self.numbers.writes["stored"] + self.numbers.writes["deleted"]

    @property
    def skipped(self) -> Mapping[str, int]:
        return self.found.skipped + self.enqueued.skipped

    @property
    def problems(self) -> list[str]:
        """Why the demo has not succeeded; empty when every object is right and nothing is left."""
        verified, problems = self.verified, []
        if self.left:
            problems.append(f"{self.left:,} writes are left in the queue")
        if self.stats.dead:
            problems.append(f"{self.stats.dead:,} writes are dead letters")
        for what, keys in (
            ("differ from their files", [f"{key}: {why}" for key, why in verified.wrong.items()]),
            ("are missing", verified.missing),
            ("should not be there", verified.unexpected),
        ):
            if keys:
                shown = "; ".join(keys[:SHOWN_KEYS]) + (" …" if len(keys) > SHOWN_KEYS else "")
                problems.append(f"objects that {what} ({len(keys):,}): {shown}")
        if self.accepted != self.enqueued.receipts:
            problems.append(
                f"the queue counts {self.accepted:,} accepted writes, {self.enqueued.receipts:,} receipts came"
            )
        return problems

    def latencies(self) -> dict[str, dict[str, float | int | None]]:
        """Accept to stored by priority, in seconds, interpolated in the worker's histogram."""
        found: dict[str, dict[str, float | int | None]] = {}
        for priority in PRIORITIES:
            buckets = self.numbers.latency[priority]
            found[priority] = {
                "writes": int(buckets[-1][1]) if buckets else 0,
                "p50": histogram_quantile(0.50, buckets),
                "p99": histogram_quantile(0.99, buckets),
            }
        return found

    def as_json(self) -> dict[str, Any]:
        writes, calls = self.numbers.writes, self.enqueued.call_seconds
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "directory": str(self.directory),
            "files": {
                "enqueued": len(self.enqueued.expected),
                "bytes": self.enqueued.file_bytes,
                "skipped": dict(self.skipped),
                "more_beyond_limit": self.found.more,
            },
            "writes": {
                "accepted": self.accepted,
                "coalesced": self.coalesced,
                "stored": writes["stored"],
                "deleted": writes["deleted"],
                "superseded": writes["superseded"],
                "retried": writes["retried"],
                "dead": self.stats.dead,
                "contested": self.stats.contested,
                "left": self.left,
                "refused_as_full": self.enqueued.full,
            },
            "objects": {
                "right": self.verified.right,
                "compressed": self.verified.compressed,
                "wrong": self.verified.wrong,
                "missing": self.verified.missing,
                "unexpected": self.verified.unexpected,
            },
            "bytes": {"before": self.numbers.body_bytes, "after": self.numbers.stored_bytes},
            "s3_errors": self.numbers.s3_errors,
            "accept_seconds": {
                "calls": len(calls),
                "threads": THREADS,
                "p50": quantile(0.50, calls),
                "p99": quantile(0.99, calls),
            },
            "accept_to_stored_seconds": self.latencies(),
            "seconds": {"enqueue": round(self.enqueued.seconds, 3), "until_empty": round(self.work_seconds, 3)},
            "writes_per_second": {
                "accepted": round(self.accepted / self.enqueued.seconds, 1),
                "uploaded": round(self.uploaded / self.work_seconds, 1),
            },
            "sidecar": self.sidecar,
        }
