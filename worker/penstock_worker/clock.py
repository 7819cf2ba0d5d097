"""This host's clock against Redis's: no upload starts while they are too far apart (design, section 6)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from penstock_worker.held import boottime

log = structlog.get_logger()

SKEW_LIMIT = 30.0
"""Seconds. A request's signature dies 15 minutes after its date, and the guard counts on that by Redis's clock: a date
from a host that is ahead would let an old request land after the guard has looked."""


class Clock:
    """What Redis's clock says, kept on the boottime clock, so that a step of this host's is seen at once.

    Safe to share between threads. ``wall`` gives this host's time, for tests that shift it.
    """

    def __init__(self, limit: float = SKEW_LIMIT, wall: Callable[[], float] = time.time) -> None:
        self._limit = limit
        self._wall = wall
        self._compared: tuple[float, float] | None = None  # Redis's time minus boottime, and by how much it may be off
        self._lock = threading.Lock()
        self._was_right = True

    def compared(self, redis_now: float, before: float, after: float) -> None:
        """Redis said that it was ``redis_now`` in a call that lasted ``before`` to ``after`` on the boottime clock."""
        self._compared = redis_now - (before + after) / 2, (after - before) / 2

    def skew(self) -> float | None:
        """Seconds that this host is ahead of Redis; None before the first comparison."""
        compared = self._compared
        return None if compared is None else self._wall() - boottime() - compared[0]

    def wrong(self) -> str | None:
        """Why no upload may start; None when the clock is right. Going wrong and coming right are logged once each.

        A skew within what the round trip may have hidden counts as right: a slow Redis must not stop a fleet.
        """
        skew, compared = self.skew(), self._compared
        if skew is None or compared is None:
            return "this host's clock was not compared with Redis's yet"
        right = abs(skew) - compared[1] <= self._limit
        if right is not self._was_right:
            self._report(right, skew)
        if right:
            return None
        return f"this host's clock is {skew:+.1f} s from Redis's, and {self._limit:g} s are allowed"

    def _report(self, right: bool, skew: float) -> None:
        with self._lock:
            if right is self._was_right:
                return
            self._was_right = right
        if right:
            log.info("clock_right", skew_seconds=round(skew, 3))
        else:
            log.error(
                "clock_skewed",
                skew_seconds=round(skew, 3),
                limit=self._limit,
                remedy="set the clock of this host or of Redis's by NTP; until then nothing is claimed or sent here",
            )
