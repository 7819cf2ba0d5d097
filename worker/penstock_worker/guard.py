"""The guard: looks at objects on which an old request may have landed, and has the newest stored write repaired."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import redis
import structlog

from penstock.queue import contested
from penstock.queue.client import Queue
from penstock.queue.contested import Contested, Judged, Verdict
from penstock_worker import logs
from penstock_worker.beats import Beats, of_shard
from penstock_worker.clock import SKEW_LIMIT
from penstock_worker.metrics import Metrics
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import ObjectInfo, Store, StoreFault
from penstock_worker.stores.limits import look_seconds

log = structlog.get_logger()

DUTY = "guard"
LOOKS_AT_ONCE = 16
"""A look is 20 ms of waiting for S3, and after an epoch there are as many to do as writes were claimed in it."""
LONGEST_SLEEP = 15.0
"""Seconds. A mark is mostly due a whole window after it was made; one of an epoch may be seen so much late, which does
no harm. An idle worker should hardly be felt."""
LONGEST_HOLD = 60.0
"""Before a name is looked at again: because the look failed, or the guard that had it died."""
BUSY_SECONDS = 5.0
"""The same for a name with a write in the queue, which is to be settled first."""
OTHERS_PAUSE = 0.1
"""Until the next step when all that was due is of buckets that this worker may not use: its own may come behind."""
REDIS_AWAY_SECONDS = 0.5
CLOCK_WRONG_SECONDS = 5.0
"""Until the clocks are compared again."""


class Guard(threading.Thread):
    """Acts on names whose window is over: no request of an earlier claim can land any more.

    It never writes to S3 itself: a repair is an ordinary leased upload. While this host's clock is not Redis's, it does
    nothing: who knows what is due then.

    Args:
        wall: this host's time, for tests that shift it.
    """

    def __init__(
        self,
        queue: Queue,
        store: Store,
        settings: WorkerSettings,
        beats: Beats,
        metrics: Metrics,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name=of_shard("penstock-guard", queue.shard), daemon=True)
        self._queue = queue
        self._duty = of_shard(DUTY, queue.shard)
        self._store = store
        self._settings = settings
        self._beats = beats
        self._metrics = metrics
        self._wall = wall
        self._longest = min(LONGEST_SLEEP, settings.guard_seconds / 2)
        self._hold = min(LONGEST_HOLD, settings.guard_seconds)
        self._ended = threading.Event()
        self._failing = False

    def run(self) -> None:
        logs.name_shard(self._queue.shard, self._queue.count)
        # Each look beats when it begins: between two beats are at most the last look, a sleep and two calls to Redis.
        self._beats.expect(self._duty, look_seconds(self._settings.store_config()) + self._longest + 30)
        with ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="penstock-guard") as pool:
            pause = 0.0
            while not self._ended.wait(pause):
                pause = self.step(pool)
                self._beats.beat(self._duty)

    def step(self, pool: ThreadPoolExecutor) -> float:
        """Looks at what is due; returns the seconds until the next step."""
        try:
            due = contested.due(
                self._queue,
                hold=self._hold,
                busy=BUSY_SECONDS,
                buckets=self._settings.buckets(),
                now=self._wall(),
                skew=SKEW_LIMIT,
            )
            found = [verdict for verdict in pool.map(self._look, due.names) if verdict is not None]
            judged = contested.judge(self._queue, found, recheck=BUSY_SECONDS)
        except redis.exceptions.RedisError as error:
            if not self._failing:  # once: the claim loop tells when Redis is back
                log.warning("guard_failed", error=str(error), remedy="the guard goes on by itself when Redis is back")
            self._failing = True
            return REDIS_AWAY_SECONDS
        self._failing = False
        if due.skewed:  # the watch says so
            return min(self._longest, CLOCK_WRONG_SECONDS)
        for (one, verdict), answer in zip(found, judged, strict=True):
            if answer in (Judged.CHANGED, Judged.BUSY):
                self._metrics.guard_look("changed")
            elif verdict is Verdict.REPAIR:
                self._metrics.guard_look("repair")
                log.warning("repair_queued", bucket=one.bucket, key=one.key, seq=one.seq)
        if len(due.names) + due.cleared + due.others >= contested.STEP:
            return 0.0 if due.others < contested.STEP else OTHERS_PAUSE
        return self._longest if due.wait is None else min(self._longest, due.wait + 0.001)

    def _look(self, one: Contested) -> tuple[Contested, Verdict] | None:
        """None when S3 does not tell: then the name keeps its mark and is looked at again."""
        if self._ended.is_set():
            return None
        self._beats.beat(self._duty)
        try:
            info = self._store.head(one.bucket, one.key)
        except StoreFault as fault:
            self._metrics.guard_look("failed")
            log.warning(
                "guard_look_failed",
                bucket=one.bucket,
                key=one.key,
                error_class=fault.error_class.value,
                code=fault.code,
                http_status=fault.http_status,
                message=fault.message,
                retry_in=self._hold,
            )
            return None
        except Exception as error:  # a bug that meets one name must not end the looks at all others, and the worker
            self._metrics.guard_look("failed")
            log.error("guard_look_crashed", bucket=one.bucket, key=one.key, retry_in=self._hold, exc_info=error)
            return None
        verdict, foreign = judge(one, info)
        if foreign:
            self._metrics.guard_look("foreign")
            log.warning("foreign_object", bucket=one.bucket, key=one.key, seq=one.seq)
        elif verdict is Verdict.FINE:
            self._metrics.guard_look("fine")
        return one, verdict

    def stop(self) -> None:
        self._ended.set()


def judge(one: Contested, info: ObjectInfo | None) -> tuple[Verdict, bool]:
    """Whether the object is as new as what was stored (rule ABSENT), and whether it is somebody else's."""
    if info is None:
        return (Verdict.FINE if one.is_delete else Verdict.REPAIR), False
    if info.seq is None:
        return Verdict.FINE, True
    return (Verdict.FINE if info.seq >= one.seq else Verdict.REPAIR), False
