"""What a fault means for a write: the five classes of the design's section 5, in one table."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from redis.backoff import FullJitterBackoff

from penstock.queue.results import Failure, Outcome, Settlement
from penstock_worker.stores import ErrorClass, StoreFault
from penstock_worker.stores.faults import BUCKET_NOT_ALLOWED, ENGINE_ERROR

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Policy:
    """``counted``: the attempt is kept. ``base`` and ``cap``: backoff with full jitter, seconds."""

    outcome: Outcome
    counted: bool
    base: float
    cap: float


POLICIES = {
    ErrorClass.THROTTLE: Policy(Outcome.RETRY, counted=False, base=1.0, cap=20.0),
    ErrorClass.TRANSIENT: Policy(Outcome.RETRY, counted=True, base=0.25, cap=60.0),
    ErrorClass.UNKNOWN: Policy(Outcome.RETRY_UNKNOWN, counted=True, base=0.25, cap=60.0),
    ErrorClass.ENVIRONMENT: Policy(Outcome.RETRY_ENVIRONMENT, counted=False, base=0.0, cap=0.0),
    ErrorClass.PERMANENT: Policy(Outcome.DEAD, counted=True, base=0.0, cap=0.0),
}

LEAST_BACKOFF = 0.1
"""Seconds. A write must not have spent its attempts before enough other requests have failed to call it an outage."""

LONG_BACKOFF = (5.0, 30.0)
"""Seconds between which a write is put off while its destination is broken: it has to wait for somebody anyway."""

SUSPENDED_BACKOFF = 0.5
"""Seconds at the most that a write is put off whose bucket is suspended: it goes out when that ends."""

OUTAGE_SHARE = 0.5
"""More than this share of a bucket's recent requests failing is an outage, and an outage counts no attempts."""
OUTAGE_WINDOW = 20
OUTAGE_SECONDS = 120.0
OUTAGE_LEAST = 4
"""Requests that must have been seen: below the attempts a write has, so that a lone write outlives an outage too."""

MAX_BUCKETS = 1000
"""Above so many, those are forgotten that nothing was sent to lately."""


class Health:
    """How each bucket's recent requests went. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: dict[str, deque[tuple[float, bool]]] = {}

    def answered(self, bucket: str, faults: Iterable[StoreFault]) -> None:
        """A request's faults. Throttling says neither that the destination is well nor that it is broken."""
        classes = {fault.error_class for fault in faults}
        if ErrorClass.THROTTLE not in classes:
            self.record(bucket, classes <= {ErrorClass.PERMANENT})

    def record(self, bucket: str, ok: bool) -> None:
        with self._lock:
            now = time.monotonic()
            if bucket not in self._recent and len(self._recent) >= MAX_BUCKETS:
                since = now - OUTAGE_SECONDS
                self._recent = {name: recent for name, recent in self._recent.items() if recent[-1][0] >= since}
            self._recent.setdefault(bucket, deque(maxlen=OUTAGE_WINDOW)).append((now, ok))

    def forget(self, bucket: str) -> None:
        """Its destination lives again: what was before says nothing any more."""
        with self._lock:
            self._recent.pop(bucket, None)

    def is_out(self, bucket: str) -> bool:
        """Whether the bucket has an outage, as far as this worker saw."""
        since = time.monotonic() - OUTAGE_SECONDS
        with self._lock:
            recent = [ok for at, ok in self._recent.get(bucket, ()) if at >= since]
        return len(recent) >= OUTAGE_LEAST and recent.count(False) > OUTAGE_SHARE * len(recent)


def settlement(name: bytes, attempts: int, fault: StoreFault, outage: bool, suspended: bool = False) -> Settlement:
    """How the claim of a write that met ``fault`` ends. ``outage``: its bucket has one; ``suspended``: for that reason
    nobody claims the write before the destination lives again.
    """
    policy = POLICIES[fault.error_class]
    failure = Failure(fault.error_class.value, fault.code, fault.http_status, fault.message)
    if fault.code == BUCKET_NOT_ALLOWED:  # that others store there says nothing about the write
        return Settlement(name, Outcome.RETRY, counted=False, delay=random.uniform(*LONG_BACKOFF), failure=failure)
    if policy.outcome is Outcome.DEAD:
        return Settlement(name, Outcome.DEAD, failure=failure)
    if suspended and fault.error_class is not ErrorClass.THROTTLE:
        delay = random.uniform(0, SUSPENDED_BACKOFF)
        return Settlement(name, policy.outcome, counted=False, delay=delay, failure=failure)
    if outage or fault.error_class is ErrorClass.ENVIRONMENT:
        delay = random.uniform(*LONG_BACKOFF)
        return Settlement(name, policy.outcome, counted=False, delay=delay, failure=failure)
    delay = max(LEAST_BACKOFF, FullJitterBackoff(cap=policy.cap, base=policy.base).compute(attempts))
    return Settlement(name, policy.outcome, counted=policy.counted, delay=delay, failure=failure)


def crash(error: Exception) -> StoreFault:
    """The fault for what nobody foresaw, on its way to the log; the request may have been sent or not."""
    log.error("upload_crashed", exc_info=error)
    return StoreFault(ErrorClass.UNKNOWN, ENGINE_ERROR, None, f"the worker failed: {type(error).__name__}")
