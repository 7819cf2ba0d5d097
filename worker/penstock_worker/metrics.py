"""The worker's metrics, by the names of the documentation. Labels come from closed lists."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence

import redis
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Batch, Claimed, Outcome, Settled, Settlement, Stats
from penstock.queue.sharded import AnyQueue
from penstock_worker.bucket_labels import BucketLabels
from penstock_worker.held import HeldClaim
from penstock_worker.stores import StoreFault, label_code

log = structlog.get_logger()

# Seconds. A batch: from milliseconds to a hung store; a write's latency: to an outage of an hour.
_BATCH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_REQUEST_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_ITEM_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
_SIZE_BUCKETS = tuple(1024 * 4**power for power in range(9))

WRITE_OUTCOMES = ("stored", "deleted", "retried", "dead", "superseded", "released", "lease_lost", "repaired")
GUARD_OUTCOMES = ("fine", "repair", "foreign", "failed", "changed")
_OUTCOME = {
    Settled.DELAYED: "retried", Settled.DEAD: "dead", Settled.PARKED: "dead", Settled.READY: "released",
    Settled.SUPERSEDED: "superseded", Settled.LEASE_LOST: "lease_lost", Settled.REPAIRED: "repaired",
}  # fmt: skip


class Metrics:
    """What one worker counts. Safe to share between threads; updated once a batch where that is enough."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._batch_seconds = Histogram(
            "penstock_batch_duration_seconds",
            "Claim to settled",
            ["outcome"],
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._batch_items = Histogram(
            "penstock_batch_items", "Writes a batch", buckets=_ITEM_BUCKETS, registry=registry
        )
        self._batch_bytes = Histogram("penstock_batch_bytes", "Bytes a batch", buckets=_SIZE_BUCKETS, registry=registry)
        self._batch_wait = Histogram(
            "penstock_batch_wait_seconds", "Oldest write, accept to claim", buckets=_LATENCY_BUCKETS, registry=registry
        )
        self._latency = Histogram(
            "penstock_write_latency_seconds",
            "Accept to stored",
            ["priority"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "penstock_s3_write_requests", "Requests to S3 that write", ["operation", "outcome"], registry=registry
        )
        self._request_seconds = Histogram(
            "penstock_s3_write_duration_seconds", "Such a request", ["operation", "outcome"],
            buckets=_REQUEST_BUCKETS, registry=registry,
        )  # fmt: skip
        self._errors = Counter(
            "penstock_s3_errors", "Faults that S3 answered or that kept it from answering",
            ["operation", "error_class", "code", "http_status"], registry=registry,
        )  # fmt: skip
        self._writes = Counter(
            "penstock_writes", "Claimed writes by how their claim ended", ["outcome"], registry=registry
        )
        self._failed_deletes = Counter(
            "penstock_failed_deletes", "Deletes that S3 did not carry out, by key, not by request", registry=registry
        )
        self._body_bytes = Counter("penstock_body_bytes", "Bytes of stored bodies as given", registry=registry)
        self._stored_bytes = Counter("penstock_stored_bytes", "Bytes of stored bodies as sent", registry=registry)
        self._guard = Counter(
            "penstock_guard_looks", "Looks at objects on which an old request may have landed", ["outcome"],
            registry=registry,
        )  # fmt: skip
        # Series exist from the start, so that a rate over them is zero and not absent.
        for outcome in WRITE_OUTCOMES:
            self._writes.labels(outcome)
        for outcome in GUARD_OUTCOMES:
            self._guard.labels(outcome)
        # Looked up once: finding a series by its labels costs more than counting in it.
        self._request = {
            (operation, outcome): (
                self._requests.labels(operation, outcome), self._request_seconds.labels(operation, outcome)
            )
            for operation in ("put", "delete")
            for outcome in ("ok", "error")
        }  # fmt: skip
        self._latency_of = [self._latency.labels(priority) for priority in PRIORITIES]

    def of_writes(self) -> Iterator[Sample]:
        """What was counted of writes, their latency and S3's errors until now."""
        for counter in (self._writes, self._stored_bytes, self._latency, self._errors):
            for family in counter.collect():
                yield from family.samples

    def claimed(self, batch: Batch, now: float) -> None:
        self._batch_items.observe(len(batch.writes))
        self._batch_bytes.observe(batch.size)
        self._batch_wait.observe(max(0.0, now - min([write.since for write in batch.writes]) / 1e6))

    def request(self, operation: str, seconds: float, fault: StoreFault | None) -> None:
        count, duration = self._request[operation, "ok" if fault is None else "error"]
        count.inc()
        duration.observe(seconds)
        if fault is not None:
            self.error(operation, fault)

    def puts_stored(self, seconds: Sequence[float]) -> None:
        """So long took each of a batch's puts that succeeded."""
        count, duration = self._request["put", "ok"]
        count.inc(len(seconds))
        for one in seconds:
            duration.observe(one)

    def error(self, operation: str, fault: StoreFault) -> None:
        status = "none" if fault.http_status is None else str(fault.http_status)
        self._errors.labels(operation, fault.error_class.value, label_code(fault.code), status).inc()

    def deletes_failed(self, keys: int) -> None:
        self._failed_deletes.inc(keys)

    def writes(self, outcome: str, count: int) -> None:
        if count:
            self._writes.labels(outcome).inc(count)

    def guard_look(self, outcome: str) -> None:
        self._guard.labels(outcome).inc()

    def settled(
        self, claim: HeldClaim, settlements: list[Settlement], settled: list[Settled], lost: int, body_bytes: int,
        stored_bytes: int, boot_now: float, now: float,
    ) -> Tally[str]:  # fmt: skip
        """A batch has ended. ``settled`` answers ``settlements``, or is empty when Redis could not be told.

        Returns how many of its writes ended in which outcome.
        """
        by_name: dict[bytes, Claimed] = {write.name: write for write in claim.batch.writes}
        tally: Tally[str] = Tally(lease_lost=lost)
        for settlement, answer in zip(settlements, settled, strict=False):
            if answer is not Settled.STORED:
                tally[_OUTCOME[answer]] += 1
                continue
            write = by_name[settlement.name]
            tally["deleted" if write.is_delete else "stored"] += 1
            self._latency_of[write.priority].observe(max(0.0, now - write.since / 1e6))
        for outcome, count in tally.items():
            self.writes(outcome, count)
        self._body_bytes.inc(body_bytes)
        self._stored_bytes.inc(stored_bytes)
        kept = sum(one.outcome is Outcome.NEVER_SENT for one in settlements)
        overtaken = sum(one.outcome is Outcome.OVERTAKEN for one in settlements)
        done = tally["stored"] + tally["deleted"] + tally["repaired"] + overtaken
        if done == len(claim.batch.writes):
            outcome = "ok"
        elif kept == len(claim.batch.writes):
            outcome = "released"
        else:
            outcome = "partial" if done else "failed"
        self._batch_seconds.labels(outcome).observe(boot_now - claim.claimed_at)
        return tally


class ConcurrencyCollector(Collector):
    """How many requests may be in flight to each bucket; of those without a label of their own, the most."""

    def __init__(self, limits: Callable[[], dict[str, int]], labels: BucketLabels) -> None:
        self._limits = limits
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "penstock_upload_concurrency", "Requests that may be in flight to a bucket", labels=["bucket"]
        )
        of_label: dict[str, int] = {}
        for bucket, requests in self._limits().items():
            label = self._labels.label(bucket)
            of_label[label] = max(requests, of_label.get(label, 0))
        for label, requests in of_label.items():
            family.add_metric([label], requests)
        return (family,)


class QueueCollector(Collector):
    """The queue's own numbers, read from Redis at each scrape in one round trip a shard.

    While Redis is away they are absent, which alert rules can tell from zero.
    """

    def __init__(self, queue: AnyQueue, labels: BucketLabels) -> None:
        self._queue = queue
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        try:
            return queue_metrics(self._queue.stats(), self._labels)
        except redis.exceptions.RedisError as error:
            log.warning("queue_metrics_unavailable", error=str(error))
            return ()


def queue_metrics(stats: Stats, labels: BucketLabels) -> Iterable[Metric]:
    writes = GaugeMetricFamily("penstock_queue_writes", "Writes in the queue", labels=["state", "priority"])
    for priority in PRIORITIES:
        writes.add_metric(["ready", priority], stats.ready[priority])
    for state in ("delayed", "inflight", "dead", "contested"):
        writes.add_metric([state, ""], getattr(stats, state))
    yield writes
    yield GaugeMetricFamily("penstock_queue_bytes", "Bytes in the queue, without dead letters", value=stats.bytes)
    limit = GaugeMetricFamily("penstock_queue_limit", "The queue's limits", labels=["unit"])
    limit.add_metric(["items"], stats.limits.items)
    limit.add_metric(["bytes"], stats.limits.bytes)
    limit.add_metric(["dead_bytes"], stats.limits.dead_bytes)
    yield limit
    used = GaugeMetricFamily("penstock_queue_used", "What counts against the limit of the same unit", labels=["unit"])
    used.add_metric(["items"], stats.items)
    used.add_metric(["bytes"], stats.bytes)
    used.add_metric(["dead_bytes"], stats.dead_bytes)
    yield used
    text = "Those of the ready writes that claims leave alone: of paused and suspended buckets and tenants"
    yield GaugeMetricFamily("penstock_queue_set_aside", text, value=stats.set_aside)
    yield GaugeMetricFamily("penstock_queue_paused", "1 while the whole queue is paused", value=float(stats.paused))
    text = "Seconds for which claims go on marking what they take, because Redis may have lost its last steps"
    yield GaugeMetricFamily("penstock_epoch_seconds_left", text, value=stats.epoch_left)
    age = GaugeMetricFamily("penstock_queue_oldest_age_seconds", "Age of the oldest ready write", labels=["priority"])
    for priority, seconds in stats.oldest_age.items():
        age.add_metric([priority], seconds or 0.0)
    yield age
    for name, text, values in (
        ("penstock_accepted_writes", "Writes accepted by the queue", stats.accepted),
        ("penstock_coalesced_writes", "Accepted writes that replaced a waiting one", stats.coalesced),
    ):
        family = CounterMetricFamily(name, text, labels=["priority"])
        for priority, value in values.items():
            family.add_metric([priority], value)
        yield family
    text = "1 for a bucket whose destination is broken: nothing but probes is sent"
    suspended = GaugeMetricFamily("penstock_bucket_suspended", text, labels=["bucket"])
    for bucket in sorted({labels.label(one.bucket) for one in stats.suspended}):
        suspended.add_metric([bucket], 1.0)
    yield suspended
    rejected = CounterMetricFamily("penstock_rejected_writes", "Writes refused by the queue", labels=["reason"])
    for reason, value in stats.rejected.items():
        rejected.add_metric([reason], value)
    yield rejected
