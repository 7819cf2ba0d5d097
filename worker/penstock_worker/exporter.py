"""The exporter: the queue's gauges without a worker, so that depth and age are seen where none runs."""

from __future__ import annotations

import redis
import structlog
from prometheus_client import CollectorRegistry

from penstock.queue.connection import show_url
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker import notify
from penstock_worker.beats import Beats
from penstock_worker.bucket_labels import BucketLabels
from penstock_worker.clock import Clock
from penstock_worker.metrics import QueueCollector
from penstock_worker.redis_watch import RedisWatch, WatchCollector
from penstock_worker.settings import WorkerSettings
from penstock_worker.sidecar import Sidecar
from penstock_worker.spool_gauges import SpoolCollector
from penstock_worker.stop_signals import StopSignals

log = structlog.get_logger()

REDIS_SECONDS = 5.0
"""Time limit of a call to Redis, and so of a scrape while it is away."""


class Exporter:
    """One exporter process: a sidecar port, and a look at Redis now and then. Claims nothing, knows no S3."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Binds the port at once. Raises InvalidSetting."""
        self._settings = settings
        queue = ShardedQueue(Clients(settings.redis_url, REDIS_SECONDS, settings.queue), settings.queue)
        self._client = queue.shards[0].client
        self._beats = Beats()
        self._watch = RedisWatch(self._client, self._beats, Clock())
        registry = CollectorRegistry()
        registry.register(QueueCollector(queue, BucketLabels(settings.buckets())))
        registry.register(WatchCollector([self._watch]))
        if settings.spool is not None:
            registry.register(SpoolCollector(settings.spool, settings.queue, settings.spool_max_bytes))
        self._sidecar = Sidecar(
            settings.sidecar_host, settings.sidecar_port, registry, self._beats.unwell, self._not_ready
        )
        self._signals = StopSignals()
        self._stopping = False

    def run(self) -> int:
        """Answers scrapes until a signal asks it to stop; returns the exit status."""
        self._signals.listen()
        self._sidecar.start()
        self._watch.start()
        log.info(
            "exporter_started",
            redis=show_url(self._settings.redis_url),
            queue=self._settings.queue,
            sidecar=self._sidecar.address,
        )
        notify.notify("READY=1")
        interval = notify.watchdog_interval()
        while not self._signals.asked(interval):
            notify.tell_life(self._beats.unwell(), [f"serving {self._sidecar.address}"])
        self._stopping = True
        notify.notify("STOPPING=1")
        self._watch.stop()
        self._sidecar.stop()
        log.info("exporter_stopped")
        return 0

    def _not_ready(self) -> list[str]:
        reasons = self._beats.unwell()
        if self._stopping:
            reasons.append("the exporter is stopping")
        try:
            self._client.ping()
        except redis.exceptions.RedisError as error:
            reasons.append(f"Redis does not answer: {error}")
        return reasons
