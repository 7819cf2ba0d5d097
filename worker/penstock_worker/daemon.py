"""The worker daemon: puts its parts together, starts them, and stops them in order. Only wiring."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence

import dramatiq
import redis
import structlog

from penstock.queue.client import Queue
from penstock.queue.connection import show_url
from penstock.queue.live import Live
from penstock.queue.sharded import Clients, ShardedQueue, clients_of
from penstock_worker import allocator, keeper, logs, notify, sweeper
from penstock_worker.beats import Beats, of_shard
from penstock_worker.breaker import Breaker
from penstock_worker.broker import QueueBroker
from penstock_worker.bucket_labels import BucketLabels
from penstock_worker.clock import Clock
from penstock_worker.consumer import ACTOR, CLAIM_DUTY, CLAIMED
from penstock_worker.failures import Health
from penstock_worker.guard import Guard
from penstock_worker.held import Held
from penstock_worker.home_cpu import HomeCpu
from penstock_worker.log_level import LogLevel
from penstock_worker.metrics import ConcurrencyCollector, Metrics, QueueCollector
from penstock_worker.redis_watch import RedisWatch, WatchCollector
from penstock_worker.registry import Registry
from penstock_worker.settings import WorkerSettings
from penstock_worker.sidecar import Sidecar
from penstock_worker.startup import REDIS_SECONDS, make_store
from penstock_worker.stop_signals import StopSignals
from penstock_worker.upload import LEAST_BATCHES, MOST_BATCHES, Uploader

log = structlog.get_logger()

WAKE_UP_MS = 1000
"""dramatiq's worker_timeout: how long its threads sleep at most, and so how late they see a stop."""

EXIT_DIED = 1

STOP_MARGIN_SECONDS = 20.0
"""What a stop may take beside PENSTOCK_STOP_TIMEOUT: giving back, and the time limits of a Redis that hangs."""

FORGET_SECONDS = 2.0
"""What a stop waits at most until the queue has taken this worker off its list."""

NOT_CLAIMING_SECONDS = 30.0
"""Without a good claim for this long the worker is not ready; an idle one claims every five seconds."""


class Daemon:
    """One worker process."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        clients = Clients(settings.redis_url, REDIS_SECONDS, settings.queue)
        queue = ShardedQueue(clients, settings.queue, guard_seconds=settings.guard_seconds)
        self._shards = shards = _shards_of(queue)
        self._beats = Beats()
        self._clients = clients_of(shards)
        self._clocks = [Clock() for _ in self._clients]
        self._watches = [
            RedisWatch(client, self._beats, clock, number)
            for number, (client, clock) in enumerate(zip(self._clients, self._clocks, strict=True))
        ]
        self._held = Held(LEAST_BATCHES, settings.memory_budget, self._clocks_wrong)
        self._metrics = Metrics()
        self._metrics.registry.register(QueueCollector(queue, BucketLabels(settings.buckets())))
        self._metrics.registry.register(WatchCollector(self._watches))
        lease, attempts = settings.lease_seconds, settings.max_attempts
        self._sweepers = [
            sweeper.Sweeper(shard, self._beats, self._metrics, lease=lease, max_attempts=attempts) for shard in shards
        ]
        self._keepers = [keeper.Keeper(shard, self._held, self._beats, lease) for shard in shards]
        self._store = make_store(settings)
        self._guards = [Guard(shard, self._store, settings, self._beats, self._metrics) for shard in shards]
        self._log_level = LogLevel(settings.log_level)
        self._registry = Registry(
            shards,
            self._held,
            self._beats,
            self._metrics,
            settings,
            concurrency=lambda: self._uploader.turns.limits(),
            apply=self._follow,
        )
        logs.name_worker(self._registry.worker_id)
        self._home_cpu = HomeCpu()
        health = Health()
        breaker = Breaker(shards, self._registry.worker_id, health)
        self._uploader = Uploader(
            shards, self._store, settings, self._held, self._metrics, self._sweepers, breaker, health, self._home_cpu
        )
        labels = BucketLabels(settings.buckets())
        self._metrics.registry.register(ConcurrencyCollector(self._uploader.turns.limits, labels))
        blocking = ShardedQueue(Clients(settings.redis_url, REDIS_SECONDS, settings.queue), settings.queue)
        self._broker = QueueBroker(
            shards,
            blocking.with_shards(len(shards)),
            settings,
            self._held,
            self._beats,
            self._metrics,
            breaker,
        )
        for name in self._broker.queue_names:
            self._broker.declare_queue(name)
        declare = dramatiq.actor(broker=self._broker, actor_name=ACTOR, queue_name=self._broker.queue_names[0])
        declare(self._upload_batch)
        self._worker = dramatiq.Worker(self._broker, worker_threads=MOST_BATCHES + 1, worker_timeout=WAKE_UP_MS)
        self.sidecar = Sidecar(
            settings.sidecar_host, settings.sidecar_port, self._metrics.registry, self._beats.unwell, self._not_ready
        )
        self._signals = StopSignals()
        self._status = 0
        self._stopping = False

    def run(self) -> int:
        """Works until a signal asks it to stop; returns the exit status."""
        self._signals.listen()
        threading.excepthook = self._on_thread_death
        settings = self._settings
        for shard in self._shards:
            self._beats.expect(of_shard(CLAIM_DUTY, shard.shard), NOT_CLAIMING_SECONDS)
        self.sidecar.start()
        for watch in self._watches:
            watch.look()  # before the first claim, which waits for it
        for duty in (*self._watches, *self._keepers, *self._sweepers, *self._guards, self._registry, self._home_cpu):
            duty.start()
        self._worker.start()
        log.info(
            "worker_started",
            redis=show_url(settings.redis_url),
            queue=settings.queue,
            shards=len(self._shards),
            engine=settings.s3_engine,
            endpoint=settings.s3_endpoint_url or "AWS",
            sidecar=self.sidecar.address,
        )
        notify.notify("READY=1")
        interval = notify.watchdog_interval()
        while not self._signals.asked(interval):
            notify.tell_life(
                self._beats.unwell(), self._not_working() or [f"{len(self._held.all())} batches in flight"]
            )
        return self._stop()

    def _clocks_wrong(self) -> str | None:
        for clock in self._clocks:
            wrong = clock.wrong()
            if wrong is not None:
                return wrong
        return None

    def _follow(self, live: Live) -> None:
        """What the queue's live settings ask for."""
        self._log_level.follow(live)
        if live.shards != len(self._shards) and not self._stopping:
            log.error(
                "shards_changed",
                shards=live.shards,
                was=len(self._shards),
                remedy="nothing to do: this process ends in order, and its supervisor starts it with the new number",
            )
            self._status = EXIT_DIED
            self._stopping = True
            self._signals.ask()

    def _upload_batch(self, claim: str) -> None:
        held = self._held.get(claim)
        if held is not None:
            self._uploader.run(held)

    # -- stopping -----------------------------------------------------------------------------------------------

    def _on_thread_death(self, death: threading.ExceptHookArgs) -> None:
        """A duty that died of a bug: the process ends in order, so that its supervisor starts a whole one."""
        name = death.thread.name if death.thread else "unknown"
        self._status = EXIT_DIED
        log.critical("thread_died", thread=name, error=repr(death.exc_value), exc_info=death.exc_value)
        self._signals.ask()

    def _stop(self) -> int:
        """Finishes what is in flight within the time limit, gives the rest back, ends every part."""
        self._stopping = True
        began = time.monotonic()
        limit = self._settings.stop_timeout
        log.info("worker_stopping", in_flight=len(self._held.all()), seconds=limit)
        # A PENSTOCK_STOP_TIMEOUT above the unit's TimeoutStopSec= would else end in SIGKILL.
        notify.tell_stop(f"stopping, {len(self._held.all())} batches in flight", limit + STOP_MARGIN_SECONDS)
        self._held.stop()
        self._registry.tell()
        while not self._held.wait_until_empty(0.1):
            if time.monotonic() - began >= limit or self._signals.asked(0):
                break  # asked twice: claims go back at once, running requests are not waited for
        self._held.aborting.set()
        left = self._held.all()
        for claim in left:
            # Requests still under way may reach S3: the queue is told which (rule REL).
            self._broker.finish(claim.batch.token)
        self._registry.stop()
        self._worker.stop(timeout=2 * WAKE_UP_MS)
        duties: list[sweeper.Sweeper | Guard | keeper.Keeper | RedisWatch] = [*self._sweepers, *self._guards]
        for duty in (*duties, *self._keepers, *self._watches, self._home_cpu):
            duty.stop()
        self._registry.join(FORGET_SECONDS)
        self._uploader.close()
        self._store.close()
        self.sidecar.stop()
        log.info("worker_stopped", given_back=len(left), seconds=round(time.monotonic() - began, 2))
        return self._status

    # -- health -------------------------------------------------------------------------------------------------

    def _not_ready(self) -> list[str]:
        reasons = self._not_working()
        if self._stopping:
            reasons.append("the worker is stopping")
        try:
            for client in self._clients:
                client.ping()
        except redis.exceptions.RedisError as error:
            reasons.append(f"Redis does not answer: {error}")
        return reasons

    def _not_working(self) -> list[str]:
        """What this process knows of itself, without asking Redis."""
        reasons = self._beats.unwell()
        clock = self._clocks_wrong()
        if clock is not None:
            reasons.append(clock)
        reasons += [reason for shard in self._shards if (reason := self._not_claiming(shard.shard)) is not None]
        return reasons

    def _not_claiming(self, shard: int) -> str | None:
        age = self._beats.age(of_shard(CLAIMED, shard))
        where = f" from shard {shard}" if len(self._shards) > 1 else ""
        if age is None:
            return f"nothing was claimed{where} yet"
        if age > NOT_CLAIMING_SECONDS and not self._held.all():
            return f"the last good claim{where} is {age:.0f} s old"
        return None


def _shards_of(queue: ShardedQueue) -> Sequence[Queue]:
    """As many as the queue has now. While Redis is away one: who then finds more in it begins anew."""
    try:
        queue.refresh()
    except redis.exceptions.RedisError as error:
        log.warning("shards_unknown", error=str(error), remedy="the worker looks again when Redis answers")
    return queue.shards


def run_worker(settings: WorkerSettings) -> int:
    """Runs a worker in this process until it is asked to stop. Raises InvalidSetting."""
    allocator.share_heaps()
    gc.freeze()  # what was imported stays: the collector need not look at it again and again
    return Daemon(settings).run()
