"""The Redis watch: looks now and then whether this Redis keeps writes, and what its clock says."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import redis
import structlog
from prometheus_client.core import Metric
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from penstock_worker.beats import Beats, of_shard
from penstock_worker.checks import is_durable, redis_warnings
from penstock_worker.clock import Clock
from penstock_worker.held import boottime

log = structlog.get_logger()

DUTY = "redis_watch"
LOOK_SECONDS = 15.0
"""Between two looks: settings and clocks change seldom, and an idle worker should hardly be felt."""
AWAY_SECONDS = 1.0
"""The same while Redis does not answer: a worker claims nothing before it has compared the clocks."""
SILENT_SECONDS = 2 * LOOK_SECONDS + 20.0
"""Two looks and the time limits of one's connection and answer."""


class RedisWatch(threading.Thread):
    """Compares the clocks, and warns of settings that can lose writes, once for each until it is cured.

    Args:
        client: its time limit bounds a look.
        number: tells the watches of several servers apart.
    """

    def __init__(self, client: redis.Redis, beats: Beats, clock: Clock, number: int = 0) -> None:
        super().__init__(name=of_shard("penstock-redis-watch", number), daemon=True)
        self._client = client
        self._duty = of_shard(DUTY, number)
        self._beats = beats
        self._clock = clock
        self._pause = 0.0
        self._answers = False
        self._warned: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self.durable: bool | None = None
        """Whether what Redis accepts outlives a restart and a full memory; None when it does not say."""

    def run(self) -> None:
        self._beats.expect(self._duty, SILENT_SECONDS)
        while not self._ended.wait(self._pause):
            self.look()
            self._beats.beat(self._duty)

    def look(self) -> None:
        """One round trip. Without an answer the last comparison of the clocks stands."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.info()
        before = boottime()
        try:
            now, info = pipeline.execute(raise_on_error=False)
            if isinstance(now, redis.exceptions.RedisError):
                raise now
        except redis.exceptions.RedisError as error:
            if self._answers or not self._pause:
                log.error("redis_not_watched", error=str(error), remedy="it is looked at again by itself")
            self._answers, self.durable, self._pause = False, None, AWAY_SECONDS
            return
        self._clock.compared(now[0] + now[1] / 1e6, before, boottime())
        self._clock.wrong()  # says so, even where nobody asks
        self._answers, self._pause = True, LOOK_SECONDS
        if isinstance(info, dict) and info.get("loading"):  # it says then that it has no append-only file
            self.durable, self._pause = None, AWAY_SECONDS
            return
        self._judge(info)

    @property
    def skew(self) -> float | None:
        """Seconds that this host is ahead of Redis; None while Redis does not answer."""
        return self._clock.skew() if self._answers else None

    def _judge(self, info: dict[str, Any] | redis.exceptions.RedisError) -> None:
        if isinstance(info, redis.exceptions.RedisError):  # a user without the right to INFO
            found = {f"INFO is refused ({info}), so nobody knows": "allow the user +info"}
            self.durable = None
        else:
            found = dict(redis_warnings(info))
            self.durable = is_durable(info)
        for problem in found.keys() - self._warned:
            log.warning("redis_unsafe", problem=problem, remedy=found[problem])
        self._warned = frozenset(found)

    def stop(self) -> None:
        self._ended.set()


class WatchCollector(Collector):
    """What the watches saw last, at each scrape: the worst of it. Absent, not zero, while it is unknown."""

    def __init__(self, watches: Sequence[RedisWatch]) -> None:
        self._watches = watches

    def collect(self) -> Iterable[Metric]:
        durable = [watch.durable for watch in self._watches]
        skews = [watch.skew for watch in self._watches]
        if False in durable or None not in durable:
            text = "1 when Redis keeps what it accepts: an append-only file, and no eviction"
            yield GaugeMetricFamily("penstock_redis_durable", text, value=float(False not in durable))
        known = [skew for skew in skews if skew is not None]
        if len(known) == len(skews):
            text = "This host's clock minus Redis's"
            yield GaugeMetricFamily("penstock_clock_skew_seconds", text, value=max(known, key=abs))
