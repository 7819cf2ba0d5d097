"""The registry: tells the queue every few seconds that this worker is alive and how it does, and takes over what the
queue's live settings say."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

import msgspec
import redis
import structlog

import penstock
from penstock.queue.client import Queue
from penstock.queue.live import Live
from penstock.queue.workers import BEAT_SECONDS, Facts, State, beat, forget
from penstock_worker.activity import Activity
from penstock_worker.beats import Beats
from penstock_worker.held import Held, boottime
from penstock_worker.metrics import Metrics
from penstock_worker.settings import WorkerSettings

log = structlog.get_logger()

DUTY = "registry"
SILENT_SECONDS = 2 * BEAT_SECONDS + 20.0
"""Two beats and the time limits of one's connection and answer."""
MAX_BUCKETS = 50
"""Buckets whose concurrency is told; the facts of 1,000 workers travel in one answer."""


class Registry(threading.Thread):
    """Beats until it is stopped, and then takes this worker off the lists.

    Args:
        shards: each has a list, because each decides by it whether other workers are alive; the first one's is shown.
        concurrency: by bucket, how many requests to S3 may be under way now; for who watches.
        apply: called with the live settings after each beat.
    """

    def __init__(
        self,
        shards: Sequence[Queue],
        held: Held,
        beats: Beats,
        metrics: Metrics,
        settings: WorkerSettings,
        *,
        concurrency: Callable[[], Mapping[str, int]] = dict,
        apply: Callable[[Live], None] = lambda live: None,
    ) -> None:
        super().__init__(name="penstock-registry", daemon=True)
        host = socket.gethostname()
        self.worker_id = f"{host}:{os.getpid()}:{secrets.token_hex(4)}"
        self._shards = shards
        self._held = held
        self._beats = beats
        self._metrics = metrics
        self._concurrency = concurrency
        self._apply = apply
        self._fixed = Facts(
            host=host,
            pid=os.getpid(),
            version=penstock.__version__,
            engine=settings.s3_engine,
            slots=settings.upload_concurrency_max,
        )
        self._began = boottime()
        self._activity = Activity(self._began)
        self._state: tuple[State, float] = ("running", self._began)
        self._failing = False
        self._woken = threading.Event()
        self._ended = False

    def run(self) -> None:
        self._beats.expect(DUTY, SILENT_SECONDS)
        while not self._ended:
            self._beat()
            self._beats.beat(DUTY)
            self._woken.wait(BEAT_SECONDS)
            self._woken.clear()
        try:
            for shard in self._shards:
                forget(shard, self.worker_id)
        except redis.exceptions.RedisError as error:
            log.warning("worker_not_forgotten", error=str(error), remedy="it is forgotten by itself within the hour")

    def tell(self) -> None:
        """Beats soon: something has changed that others want to know."""
        self._woken.set()

    def stop(self) -> None:
        self._ended = True
        self._woken.set()

    def _beat(self) -> None:
        facts = self._facts()
        try:
            live = beat(self._shards[0], self.worker_id, facts)
            for shard in self._shards[1:]:
                beat(shard, self.worker_id, facts)
        except redis.exceptions.RedisError as error:
            if not self._failing:  # once: the claim loop tells when Redis is back
                log.warning("heartbeat_failed", error=str(error))
            self._failing = True
            return
        self._failing = False
        self._apply(live)

    def _facts(self) -> Facts:
        now, claims = boottime(), self._held.all()
        self._activity.look(now, self._metrics.of_writes())
        stored, stored_bytes = self._activity.stored
        state = self._state_now()
        if state != self._state[0]:
            self._state = state, now
        return msgspec.structs.replace(
            self._fixed,
            state=state,
            state_seconds=now - self._state[1],
            up_seconds=now - self._began,
            in_flight=sum([len(claim.batch.writes) for claim in claims]),
            claims=len(claims),
            lease_left=min([claim.deadline - now for claim in claims], default=None),
            concurrency=dict(list(self._concurrency().items())[:MAX_BUCKETS]),
            stored=stored,
            stored_bytes=stored_bytes,
            rate=self._activity.rate(),
            latency=self._activity.latency(),
            errors=self._activity.errors(),
        )

    def _state_now(self) -> State:
        if self._held.stopping.is_set():
            return "stopping"
        return "running" if self._held.unfit() is None else "unfit"
