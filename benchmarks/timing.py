"""How long calls take. Needs nothing but the standard library: contenders use it too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

PERCENTS = (1.0, 5.0, 10.0, 25.0, 40.0, 50.0, 60.0, 70.0, 80.0, 85.0, 90.0, 93.0, 95.0, 97.0, 98.0, 99.0, 99.5, 99.9)
"""As close as a curve needs them, and the rarer the closer."""


def timed(call: Callable[[int], object], count: int) -> list[float]:
    """µs of each of ``count`` calls, which are given their number."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        times.append((time.perf_counter() - began) * 1e6)
    return times


def p50(call: Callable[[int], object], count: int) -> float:
    """Median of one call, µs."""
    return statistics.median(timed(call, count))


def percentile(times: Sequence[float], percent: float) -> float:
    """The nearest rank's: one of the times themselves."""
    return _rank(sorted(times), percent)


def percentiles(times: Sequence[float]) -> list[tuple[float, float]]:
    """(percent, time) for `PERCENTS`, in rising order."""
    ordered = sorted(times)
    return [(percent, _rank(ordered, percent)) for percent in PERCENTS]


def _rank(ordered: Sequence[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
