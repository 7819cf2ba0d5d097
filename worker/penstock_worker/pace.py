"""A pace: requests a second that a bucket gets after it has throttled. For one request at a time can still be too many
a second for a store that answers quickly. Times in seconds, of a clock that the caller reads."""

from __future__ import annotations

PACE_SHARE = 0.9
"""Throttling sets the pace to this share of what the store took in the last second."""
PLATEAU = 2.0
"""Seconds until the pace is back at that rate. It grows as TCP CUBIC's window does (RFC 9438): quickly towards the rate
that was refused, slowly around it, and ever more quickly beyond."""
LEAST_PACE = 5.0
"""Also for a store that refuses whatever the pace is: from here the way back to hundreds takes half a minute."""
PACE_ENDS = 60.0
"""Seconds without a refusal after which a pace is over."""
CUT_PERIOD = 1.0
"""A pace is cut once in so many seconds: one cut must show before the next."""

_SLOTS = 10


class Rate:
    """How many in the last second."""

    def __init__(self) -> None:
        self._slots = [(-_SLOTS, 0)] * _SLOTS  # (which tenth of a second, how many in it)

    def add(self, now: float) -> None:
        tenth = int(now * _SLOTS)
        of, count = self._slots[tenth % _SLOTS]
        self._slots[tenth % _SLOTS] = tenth, count + 1 if of == tenth else 1

    def a_second(self, now: float) -> float:
        oldest = int(now * _SLOTS) - _SLOTS
        return float(sum(count for of, count in self._slots if of > oldest))


class Pace:
    """From the first refusal on. ``rate``: what the store took in the last second."""

    def __init__(self, now: float, rate: float) -> None:
        self._refused_at = self._cut_at = self._next = now
        self._plateau = max(LEAST_PACE, rate)

    def is_over(self, now: float) -> bool:
        return now - self._refused_at > PACE_ENDS

    def turn(self, now: float) -> float:
        """Takes the next turn and returns its time."""
        turn = max(now, self._next)
        self._next = turn + 1 / self._a_second(now)
        return turn

    def refused(self, now: float, rate: float) -> None:
        self._refused_at = now
        if now - self._cut_at >= CUT_PERIOD:
            self._plateau = max(LEAST_PACE, min(rate, self._a_second(now)))
            self._cut_at = now

    def _a_second(self, now: float) -> float:
        beyond = (now - self._cut_at) / PLATEAU - 1
        return max(LEAST_PACE, self._plateau * (1 + (1 - PACE_SHARE) * beyond**3))
