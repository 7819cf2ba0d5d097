"""Every series that the code exposes, by asking the code: for tests of what is written about metrics elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

from prometheus_client.core import Metric

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Limits, Stats, Suspension
from penstock_worker.bucket_labels import BucketLabels
from penstock_worker.held import HeldClaim
from penstock_worker.metrics import ConcurrencyCollector, Metrics, queue_metrics
from penstock_worker.redis_watch import RedisWatch, WatchCollector
from penstock_worker.spool_gauges import SpoolCollector
from penstock_worker.stores import ErrorClass, StoreFault

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_EACH = dict.fromkeys(PRIORITIES, 1)
_STATS = Stats(
    queue="a-queue", now=_NOW.timestamp(), shards=1, paused=False,
    ready=_EACH, delayed=1, inflight=1, parked=1, dead=1, contested=1, items=1, bytes=1, dead_bytes=1,
    oldest_age=dict.fromkeys(PRIORITIES, 1.0), limits=Limits(1, 1, 1), accepted=_EACH, coalesced=_EACH,
    rejected=dict.fromkeys(("items", "bytes", "body"), 1), blocks=[], set_aside=0,
    suspended=[Suspension("a-bucket", _NOW, _NOW, 1, "environment", "AccessDenied", 403)],
)  # fmt: skip


def _families() -> Iterator[Metric]:
    labels = BucketLabels(None)
    metrics = Metrics()
    for operation in ("put", "delete"):
        for error_class in ErrorClass:
            metrics.request(operation, 1.0, StoreFault(error_class, "AccessDenied", 403, "a message"))
    no_writes = cast("HeldClaim", SimpleNamespace(batch=SimpleNamespace(writes=[]), claimed_at=0.0))
    metrics.settled(no_writes, [], [], 0, 0, 0, 1.0, 1.0)
    yield from metrics.registry.collect()
    yield from ConcurrencyCollector(lambda: {"a-bucket": 1}, labels).collect()
    yield from WatchCollector([cast("RedisWatch", SimpleNamespace(durable=True, skew=0.0))]).collect()
    yield from queue_metrics(_STATS, labels)
    yield from SpoolCollector("/nowhere", "a-queue", 1).collect()


def exposed() -> dict[str, dict[str, set[str]]]:
    """By the name of a series, as Prometheus has it: its labels, each with the values that a list in the code closes.

    A label whose values are many (``bucket``, ``code``, ``http_status``, ``le``) has some of them.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for family in _families():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found
