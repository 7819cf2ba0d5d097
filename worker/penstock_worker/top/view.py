"""What `penstock top` shows: a look, and what follows from it and from those before."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Stats
from penstock.queue.workers import WorkerSeen
from penstock_worker.quantiles import histogram_quantile
from penstock_worker.top.look import Look

RATE_SECONDS = 10.0
"""Rates are over about so long, as those are that workers tell."""


@dataclass(frozen=True, slots=True)
class Latency:
    """From accept to stored, of the writes stored within the last minute; in seconds."""

    writes: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class View:
    """Rates are a second; None until two looks were taken. ``errors`` are S3's of the last minute.

    ``latency`` by priority, and of all together under "all".
    """

    look: Look
    accepted: dict[str, float | None]
    coalesced: float | None
    rejected: dict[str, float | None]
    stored: float
    stored_bytes: float
    latency: dict[str, Latency]
    errors: list[tuple[str, str, int]]


class Viewer:
    """Makes a view of each look. For one thread."""

    def __init__(self) -> None:
        self._before: deque[tuple[float, Counter[str]]] = deque()

    def view(self, look: Look) -> View:
        self._remember(look.stats)
        alive = look.alive
        rates = [worker.facts.rate for worker in alive if worker.facts.rate.seconds > 0]
        return View(
            look=look,
            accepted={name: self._rate(f"accepted {name}") for name in PRIORITIES},
            coalesced=self._rate("coalesced"),
            rejected={reason: self._rate(f"rejected {reason}") for reason in look.stats.rejected},
            stored=sum([rate.writes / rate.seconds for rate in rates]),
            stored_bytes=sum([rate.bytes / rate.seconds for rate in rates]),
            latency=_latency(alive),
            errors=_errors(alive),
        )

    def _remember(self, stats: Stats) -> None:
        now = Counter({f"accepted {name}": count for name, count in stats.accepted.items()})
        now["coalesced"] = sum(stats.coalesced.values())
        now.update({f"rejected {reason}": count for reason, count in stats.rejected.items()})
        if self._before and any(now[name] < count for name, count in self._before[-1][1].items()):
            self._before.clear()  # Redis has lost something, or is another one
        self._before.append((stats.now, now))
        while len(self._before) > 2 and self._before[1][0] <= stats.now - RATE_SECONDS:
            self._before.popleft()

    def _rate(self, name: str) -> float | None:
        (first, then), (last, now) = self._before[0], self._before[-1]
        return (now[name] - then[name]) / (last - first) if last > first else None


def _latency(alive: list[WorkerSeen]) -> dict[str, Latency]:
    by_priority: dict[str, Counter[float]] = {name: Counter() for name in PRIORITIES}
    for worker in alive:
        for name, buckets in worker.facts.latency.items():
            for bound, count in buckets:
                by_priority.setdefault(name, Counter())[bound] += count
    together: Counter[float] = Counter()
    for counts in by_priority.values():
        for bound, count in counts.items():
            together[bound] += count
    return {name: _quantiles(counts) for name, counts in (*by_priority.items(), ("all", together))}


def _quantiles(counts: Counter[float]) -> Latency:
    total, buckets = 0, []
    for bound in sorted(counts):
        total += counts[bound]
        buckets.append((bound, float(total)))
    p50, p95, p99 = (histogram_quantile(share, buckets) for share in (0.50, 0.95, 0.99))
    return Latency(total, p50, p95, p99)


def _errors(alive: list[WorkerSeen]) -> list[tuple[str, str, int]]:
    found: Counter[tuple[str, str]] = Counter()
    for worker in alive:
        for error_class, code, count in worker.facts.errors:
            found[error_class, code] += count
    return [(error_class, code, count) for (error_class, code), count in found.most_common()]
