"""The breaker: a bucket whose destination is broken gets no more requests, but for a probe now and then.

A worker suspends for itself first. When another worker finds the same, or none is alive, the queue suspends the bucket
for all, and one of them probes with one real write at a time. Until then this worker tries by itself: a sick host among
healthy ones takes nothing away from them.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
import structlog

from penstock.queue.client import Queue
from penstock.queue.results import Failure
from penstock.queue.suspension import FIRST_PROBE_SECONDS, JITTER, LONGEST_PROBE_SECONDS, Answer, resume, suspend
from penstock_worker.failures import Health
from penstock_worker.held import boottime
from penstock_worker.stores import ErrorClass, StoreFault

log = structlog.get_logger()

REMEDIES = {
    ErrorClass.ENVIRONMENT: "see to credentials, permissions, and that the bucket exists; the queue resumes by itself",
    ErrorClass.TRANSIENT: "see whether the endpoint can be reached; the queue resumes by itself",
    ErrorClass.UNKNOWN: "the store fails or answers too late; the queue resumes by itself",
}


TRY_SECONDS = 60.0
"""How long a worker waits for the answer to what it tries by itself, before it tries something else."""


@dataclass(slots=True)
class _Tripped:
    """``for_all``: the queue has suspended the bucket. ``until``: when this worker tries by itself (boottime clock)."""

    since: float
    for_all: bool
    until: float
    interval: float = FIRST_PROBE_SECONDS
    trying_until: float = 0.0


class Breaker:
    """All buckets' states in one process. Safe to share between threads; Redis's errors stay inside.

    Args:
        shards: of the queue. Each suspends for itself, and one that holds something of the bucket probes.
        worker: this worker's name in the registry.
    """

    def __init__(self, shards: Sequence[Queue], worker: str, health: Health) -> None:
        self._shards = shards
        self._worker = worker
        self._health = health
        self._lock = threading.Lock()
        self._tripped: dict[str, _Tripped] = {}

    def skipped(self) -> list[str]:
        """Buckets that only this worker found broken: it claims nothing of them until it tries again."""
        with self._lock:
            now = boottime()
            tripped = self._tripped.items()
            return [name for name, one in tripped if not one.for_all and now < max(one.until, one.trying_until)]

    def is_open(self, bucket: str) -> bool:
        """Whether the bucket is suspended, as far as this worker knows."""
        return bucket in self._tripped

    def lets(self, bucket: str, claimed_at: float, *, is_probe: bool, is_begun: bool = False) -> bool:
        """Whether a request of a claim may be sent now; its end is told to `answered`, or to `gave_up`.

        ``is_begun``: it is a further one of what this let through, which may be what this worker tries by itself.
        """
        if not self._tripped:
            return True
        with self._lock:
            one = self._tripped.get(bucket)
            if one is None or is_probe:
                return True
            if one.for_all:
                if claimed_at <= one.since:
                    return False
                del self._tripped[bucket]  # claims give its writes again: another worker's probe succeeded
                self._health.forget(bucket)
                return True
            now = boottime()
            if is_begun and now < one.trying_until:
                return True
            if now < max(one.until, one.trying_until):
                return False
            one.trying_until = now + TRY_SECONDS
            return True

    def gave_up(self, bucket: str) -> None:
        """A request that was let through was not sent after all."""
        with self._lock:
            one = self._tripped.get(bucket)
            if one is not None:
                one.trying_until = 0.0

    def answered(self, bucket: str, faults: Collection[StoreFault], *, is_probe: bool = False) -> None:
        """How a request to the bucket ended."""
        if not faults:
            self._health.record(bucket, ok=True)
            self._lives(bucket, is_probe)
            return
        self._health.answered(bucket, faults)
        classes = {fault.error_class for fault in faults}
        # Throttled, or the write's own fault: the destination lives.
        if classes <= {ErrorClass.PERMANENT, ErrorClass.THROTTLE}:
            self._lives(bucket, is_probe)
        elif bucket in self._tripped or self._health.is_out(bucket):
            fault = next(one for one in faults if one.error_class not in (ErrorClass.PERMANENT, ErrorClass.THROTTLE))
            self._broken(bucket, fault)

    def _broken(self, bucket: str, fault: StoreFault) -> None:
        now = boottime()
        with self._lock:
            one = self._tripped.get(bucket)
            if one is not None and (one.for_all or not one.trying_until):
                return  # a request that was under way already
            interval = FIRST_PROBE_SECONDS if one is None else min(2 * one.interval, LONGEST_PROBE_SECONDS)
            until = now + interval * random.uniform(1 - JITTER, 1 + JITTER)
            one = self._tripped[bucket] = _Tripped(now, False, until, interval)
        failure = Failure(fault.error_class.value, fault.code, fault.http_status, fault.message)
        try:
            answers = {suspend(shard, bucket, self._worker, failure) for shard in self._shards}
        except redis.exceptions.RedisError as error:
            log.warning("suspend_failed", bucket=bucket, error=str(error), remedy="this worker tries by itself")
            return
        one.for_all = answers <= {Answer.SUSPENDED, Answer.ALREADY}
        if one.for_all:
            one.since = boottime()  # what was claimed until now was claimed before the suspension
        if answers != {Answer.ALREADY}:
            log.warning(
                "bucket_suspended",
                bucket=bucket,
                by="all workers" if one.for_all else "this worker",
                error_class=fault.error_class.value,
                code=fault.code,
                http_status=fault.http_status,
                message=fault.message,
                retry_in=round(until - now, 2),
                remedy=REMEDIES[fault.error_class],
            )

    def _lives(self, bucket: str, is_probe: bool) -> None:
        if not is_probe and bucket not in self._tripped:
            return
        with self._lock:
            one = self._tripped.pop(bucket, None)
        self._health.forget(bucket)
        since = None
        try:
            found = [resume(shard, bucket) for shard in self._shards]
            since = min([at for at in found if at is not None], default=None)
        except redis.exceptions.RedisError as error:
            log.warning("resume_failed", bucket=bucket, error=str(error), remedy="the next probe resumes the bucket")
        if since is not None or one is not None:
            seconds = (datetime.now(UTC) - since).total_seconds() if since else boottime() - (one.since if one else 0)
            log.info("bucket_resumed", bucket=bucket, seconds=round(seconds, 2))
