"""The PromQL of the dashboard, by where a number is kept.

What lives in Redis (the queue's gauges; accepted, coalesced and rejected writes) every worker and the exporter expose
alike, so it is put together with ``max``: a sum would count it once for each of them. What a worker counts by itself is
put together with ``sum``.
"""

from __future__ import annotations

TARGETS = 'queue=~"$queue", job=~"$job", instance=~"$instance"'
"""The dashboard's variables; every selector has them."""
RATE = "$__rate_interval"
"""Grafana's window of a rate: at least four scrapes, and as long as a step of the picture."""
SHORT = "5m"
"""The window of numbers that are shown once: long enough to be calm, short enough to be news."""


def select(metric: str, **labels: str) -> str:
    """A selector. ``labels``: what a label must be; a value with ``|`` in it is one of several."""
    wanted = [f'{label}{"=~" if "|" in value else "="}"{value}"' for label, value in labels.items()]
    return f"{metric}{{{', '.join((TARGETS, *wanted))}}}"


def kept(metric: str, by: str = "", **labels: str) -> str:
    """A gauge that is kept in Redis."""
    return f"max{_by(by)}({select(metric, **labels)})"


def kept_rate(metric: str, by: str = "", window: str = RATE) -> str:
    """A second, of a counter that is kept in Redis. The rate comes first: a maximum of counters may go backwards."""
    return f"max{_by(by)}(rate({select(metric)}[{window}]))"


def rate(metric: str, by: str = "", window: str = RATE, **labels: str) -> str:
    """A second, of what each worker counts."""
    return f"sum{_by(by)}(rate({select(metric, **labels)}[{window}]))"


def increase(metric: str, by: str = "", window: str = RATE, **labels: str) -> str:
    """In the window, of what each worker counts."""
    return f"sum{_by(by)}(increase({select(metric, **labels)}[{window}]))"


def quantile(share: float, histogram: str, by: str = "", window: str = RATE, **labels: str) -> str:
    """Of all workers together. Not a number where nothing was observed."""
    by_bucket = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', by_bucket, window, **labels)})"


def mean(histogram: str) -> str:
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
