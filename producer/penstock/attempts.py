"""When a call to Redis is sent again. One policy for threads and asyncio; no I/O here."""

from __future__ import annotations

import random
import time

import redis

from penstock.queue.connection import Fate, fate_of, translate
from penstock.queue.resp import LoadingInPartError

SENDS = 3
"""How often a call is sent at most when its answer is lost, all within the time limit and under one call number."""

FIRST_PAUSE = 0.02
LAST_PAUSE = 0.2
"""Seconds, with full jitter between: a Redis that restarts is found soon, and many producers do not come at once."""

_MOST_DOUBLINGS = 10
"""Far above what LAST_PAUSE takes: a long time limit has thousands of tries, and floats end at 2 to the 1024th."""

LEAST_TRY = 0.05
"""Seconds that must be left for one more try: one that cannot be answered in time only makes the outcome uncertain."""


def least_try(timeout: float) -> float:
    """The same for a call's first try, whose time limit may itself be no longer."""
    return min(LEAST_TRY, timeout / 2)


class Attempts:
    """The failures of one call.

    Args:
        deadline: by ``time.monotonic``; nothing is tried after it.
    """

    def __init__(self, url: str, deadline: float) -> None:
        self._url = url
        self._deadline = deadline
        self._tries = 0
        self._lost = 0
        self._loaded = False
        self._maybe_accepted = False
        self._refusal: redis.RedisError | None = None

    def after(self, error: redis.RedisError, *, sent: bool) -> tuple[float, bool]:
        """Seconds to wait before the call is sent again, and whether Redis needs the script with it.

        A call that was refused or could not be sent is tried as long as there is time; one whose answer was lost a few
        times, because each may cost half of the time limit.

        Raises:
            PenstockError: the caller's error, when there is no use or no time.
        """
        fate = fate_of(error)
        if sent and fate in (Fate.BROKEN, Fate.FAILED):
            self._maybe_accepted = True
            self._lost += 1
        if isinstance(error, LoadingInPartError):
            self._maybe_accepted = True  # but it came at once, so it is tried as long as there is time
        if fate is Fate.NO_SCRIPT and not self._loaded:
            self._loaded = True
            return 0.0, True
        if fate is Fate.NO_SCRIPT and isinstance(error.__cause__, redis.RedisError):
            error = error.__cause__  # why it could not be loaded
            fate = fate_of(error)
        if fate is Fate.REFUSED:
            self._refusal = error
        self._tries += 1
        pause = random.uniform(0, min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._tries, _MOST_DOUBLINGS)))
        in_time = time.monotonic() + pause + LEAST_TRY < self._deadline
        if fate not in (Fate.BROKEN, Fate.REFUSED) or self._lost >= SENDS or not in_time:
            # What a server said tells more than that its time ran out in a later try.
            told = self._refusal if fate is Fate.BROKEN and self._refusal and not self._lost else error
            raise translate(told, self._url, maybe_accepted=self._maybe_accepted) from error
        return pause, False
