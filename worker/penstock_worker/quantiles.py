"""Quantiles: of a histogram's buckets, and of plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence

Buckets = list[tuple[float, float]]
"""Upper bound in seconds, and how many were not longer; the last bound is infinite."""


def histogram_quantile(share: float, buckets: Buckets) -> float | None:
    """As Prometheus's function of that name: linear inside a bucket. So it is about right, not exact."""
    total = buckets[-1][1] if buckets else 0
    if not total:
        return None
    rank = share * total
    below, lower = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * ((rank - below) / (count - below) if count > below else 1.0)
        below, lower = count, bound
    return lower


def quantile(share: float, values: Sequence[float]) -> float | None:
    """The exact one, by nearest rank."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
