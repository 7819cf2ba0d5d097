"""The spool of this host as gauges, for an exporter that runs where producers do."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.errors import InvalidSetting
from penstock.spool.look import spool_stats


class SpoolCollector(Collector):
    """Reads the spool's file at each scrape."""

    def __init__(self, directory: str, queue: str, limit: int) -> None:
        self._directory = directory
        self._queue = queue
        self._limit = limit

    def collect(self) -> Iterable[Metric]:
        readable = GaugeMetricFamily("penstock_spool_readable", "1: this host's spool can be read.")
        try:
            stats = spool_stats(self._directory, self._queue)
        except InvalidSetting:
            readable.add_metric([], 0)
            return [readable]
        readable.add_metric([], 1)
        return [
            readable,
            GaugeMetricFamily("penstock_spool_writes", "Writes that wait on this host for Redis.", stats.writes),
            GaugeMetricFamily("penstock_spool_bytes", "Bytes of them.", stats.bytes),
            GaugeMetricFamily("penstock_spool_limit_bytes", "What the spool takes at most.", self._limit),
            GaugeMetricFamily(
                "penstock_spool_oldest_age_seconds",
                "How long the oldest of them waits; 0 without one.",
                stats.oldest_age or 0,
            ),
            GaugeMetricFamily(
                "penstock_spool_files_aside",
                "Files set aside, since they were unreadable.",
                len(stats.aside),
            ),
            CounterMetricFamily("penstock_spool_replayed_writes", "Writes sent on to Redis.", stats.replayed),
            CounterMetricFamily(
                "penstock_spool_superseded_writes", "Those of them that a newer write had superseded.", stats.superseded
            ),
        ]
