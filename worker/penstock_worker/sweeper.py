"""The sweeper: takes back the claims of dead workers and makes retries ready when they are due."""

from __future__ import annotations

import threading

import redis
import structlog

from penstock.queue.client import Queue
from penstock_worker import logs
from penstock_worker.beats import Beats, of_shard
from penstock_worker.metrics import Metrics

log = structlog.get_logger()

DUTY = "sweeper"
LONGEST_SLEEP = 5.0
"""Seconds. A lease begun after the last look ends later than this, so none is seen late."""
REDIS_AWAY_SECONDS = 0.5


class Sweeper(threading.Thread):
    """Sleeps until the next lease ends or the next retry is due, as Redis told it."""

    def __init__(self, queue: Queue, beats: Beats, metrics: Metrics, *, lease: float, max_attempts: int) -> None:
        super().__init__(name=of_shard("penstock-sweeper", queue.shard), daemon=True)
        self._queue = queue
        self._duty = of_shard(DUTY, queue.shard)
        self._beats = beats
        self._metrics = metrics
        self._longest = min(LONGEST_SLEEP, lease)
        self._max_attempts = max_attempts
        self._woken = threading.Event()
        self._ended = False
        self._failing = False

    def run(self) -> None:
        logs.name_shard(self._queue.shard, self._queue.count)
        self._beats.expect(self._duty, self._longest * 2 + 10)
        while not self._ended:
            pause = self._sweep()
            self._beats.beat(self._duty)
            if self._woken.wait(pause):
                self._woken.clear()

    def _sweep(self) -> float:
        try:
            swept = self._queue.sweep(max_attempts=self._max_attempts)
        except redis.exceptions.RedisError as error:
            if not self._failing:  # once: the claim loop tells when Redis is back
                log.warning("sweep_failed", error=str(error))
            self._failing = True
            return REDIS_AWAY_SECONDS
        self._failing = False
        if swept.taken_back:
            log.warning("claims_taken_back", writes=swept.taken_back, dead=swept.dead)
        self._metrics.writes("dead", swept.dead)
        if swept.more:
            return 0.0
        return self._longest if swept.wait is None else min(self._longest, swept.wait + 0.001)

    def wake(self, within: float) -> None:
        """A retry was put off by ``within`` seconds: look again if that is before the next look."""
        if within < self._longest:
            self._woken.set()

    def stop(self) -> None:
        self._ended = True
        self._woken.set()
