"""What this worker has done lately: its own counters, now against a while ago."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from prometheus_client.samples import Sample

from penstock.queue.workers import Rate

RATE_SECONDS = 10.0
"""Throughput is over about so long: it shows a stop soon, and does not jump with every batch."""
LATELY_SECONDS = 60.0
"""Latency and errors are: few writes a second still give a picture."""

_DONE = ("stored", "deleted")


@dataclass(slots=True)
class _Counts:
    """The counters at one moment. Latency's buckets are cumulative, as Prometheus has them."""

    at: float
    writes: int = 0
    bytes: int = 0
    latency: dict[str, dict[float, int]] = field(default_factory=dict)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)


class Activity:
    """Fed with the counters now and then; tells how they changed. For one thread.

    Args:
        began: when all of them were zero; in seconds, from a clock that only grows.
    """

    def __init__(self, began: float) -> None:
        self._looks = deque([_Counts(began)])

    def look(self, now: float, samples: Iterable[Sample]) -> None:
        """``samples`` are those of `Metrics.of_writes`."""
        self._looks.append(_read(now, samples))
        while len(self._looks) > 2 and self._looks[1].at <= now - LATELY_SECONDS:
            self._looks.popleft()

    @property
    def stored(self) -> tuple[int, int]:
        """Writes and bytes since the start."""
        last = self._looks[-1]
        return last.writes, last.bytes

    def rate(self) -> Rate:
        last = self._looks[-1]
        first = next(
            look for look in reversed(self._looks) if look.at <= last.at - RATE_SECONDS or look is self._looks[0]
        )
        return Rate(last.at - first.at, last.writes - first.writes, last.bytes - first.bytes)

    def latency(self) -> dict[str, list[tuple[float, int]]]:
        """By priority, how many writes lately took how long: (bucket's upper bound in seconds, writes).

        Buckets without a write are left out, except where the next one has some: they say where that one begins.
        """
        found = {}
        for priority, now in self._looks[-1].latency.items():
            before = self._looks[0].latency.get(priority, {})
            bounds = sorted(now)
            below = [0, *(now[bound] - before.get(bound, 0) for bound in bounds)]
            counts = [high - low for low, high in pairwise(below)]
            following = [*counts[1:], 0]
            buckets = zip(bounds, counts, following, strict=True)
            kept = [(bound, count) for bound, count, then in buckets if count or then]
            if kept:
                found[priority] = kept
        return found

    def errors(self) -> list[tuple[str, str, int]]:
        """S3's lately, the most frequent first: (class, code, how many)."""
        lately = self._looks[-1].errors - self._looks[0].errors
        return [(error_class, code, count) for (error_class, code), count in lately.most_common()]


def _read(now: float, samples: Iterable[Sample]) -> _Counts:
    counts = _Counts(now)
    for sample in samples:
        labels, value = sample.labels, int(sample.value)
        match sample.name:
            case "penstock_writes_total":
                counts.writes += value * (labels["outcome"] in _DONE)
            case "penstock_stored_bytes_total":
                counts.bytes += value
            case "penstock_write_latency_seconds_bucket":
                counts.latency.setdefault(labels["priority"], {})[float(labels["le"])] = value
            case "penstock_s3_errors_total":
                counts.errors[labels["error_class"], labels["code"]] += value
    return counts
