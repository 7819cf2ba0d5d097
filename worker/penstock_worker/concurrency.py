"""How many requests a bucket bears, at once and a second, found out from what comes back.

A `Limit` says how many may be in flight: successes raise it by one a round trip, throttling and latency that rises with
the load cut it. Since one request at a time can still be too many a second for a store that answers quickly, throttling
also sets a `Pace`. Neither knows threads or clocks: `turns.py` holds a lock and tells the time, in seconds.
"""

from __future__ import annotations

import math
from statistics import median

PERIOD = 0.1
"""The least time over which latency is judged. A period also lasts `ROUND_TRIPS` of the requests it saw."""
LONGEST_PERIOD = 2.0
ROUND_TRIPS = 2
LEAST_SAMPLES = 8
"""Requests a period must have seen: the median of fewer says little."""

RISES_BELOW = 1.4
"""Latency below so many times that of an unloaded store lets the limit rise."""
FALLS_ABOVE = 1.75
FALLS_SLACK = 0.01
"""Latency above so many times that of an unloaded store, and by so many seconds, for two periods may cut the limit. A
store that is full at half the load takes twice as long; on a busy host a request of a millisecond often takes three."""
OURS = 0.75
"""The cut stays when latency came down with it to this share or less; else our load was not what made it rise."""
LOOK_EVERY = 60.0
"""So often a limit that is used up is halved for one period, to see what an unloaded store's latency is by now."""

THROTTLED_TO = 0.7
"""Throttling cuts the limit to this share, once in `CUT_PERIOD` seconds: one cut must show before the next."""
CUT_PERIOD = 1.0

PACE_SHARE = 0.9
"""Throttling sets the pace to this share of what the store took in the last second."""
PLATEAU = 2.0
"""Seconds until the pace is back at that rate. It grows as TCP CUBIC's window does (RFC 9438): quickly towards the rate
that was refused, slowly around it, and ever more quickly beyond."""
LEAST_PACE = 5.0
"""Also for a store that refuses whatever the pace is: from here the way back to hundreds takes half a minute."""
PACE_ENDS = 60.0
"""Seconds without a refusal after which there is no pace any more."""

RATE_SLOTS = 10
SMALL_BODY = 64 * 1024


class Limit:
    """One bucket's. Not safe to share between threads. ``start`` and ``most``: requests in flight."""

    def __init__(self, start: int, most: int, now: float) -> None:
        self._limit = float(start)
        self._most = float(most)
        self._unloaded: dict[int, float] = {}  # size class to seconds
        self._samples: list[tuple[int, float]] = []
        self._period_began = now
        self._reached = False
        self._rising = False
        self._looking = False
        self._before: float | None = None  # the latency that made us look
        self._looked_at = -math.inf
        self._cut_at = -math.inf
        self._rate = _Rate()
        self._pace: _Pace | None = None

    @property
    def requests(self) -> int:
        """Requests that the bucket bears at once, as far as is known."""
        return int(self._limit)

    def allowed(self) -> int:
        """Requests that may be in flight now: fewer for a moment, while their latency at half the load is looked at."""
        return max(1, int(self._limit / 2)) if self._looking else int(self._limit)

    def turn(self, now: float) -> float:
        """Takes the next turn and returns its time: when a request may begin by the pace."""
        if self._pace is not None and now - self._pace.refused_at > PACE_ENDS:
            self._pace = None
        return now if self._pace is None else self._pace.turn(now)

    def reached(self) -> None:
        """As many requests as are allowed are under way, and more wait."""
        self._reached = True

    def stored(self, now: float, began: float, size: int | None) -> None:
        """A request has succeeded. ``size``: bytes sent, or None when they say nothing of how long it takes."""
        self._rate.add(now)
        if size is not None:
            self._sample(now, began, size)

    def late(self, now: float, began: float, size: int) -> None:
        """A request got no answer in time: it takes that long at least."""
        self._sample(now, began, size)

    def throttled(self, now: float) -> None:
        rate = self._rate.a_second(now)
        if self._pace is None:
            self._pace = _Pace(now, rate)
        else:
            self._pace.refused(now, rate)
        if now - self._cut_at >= CUT_PERIOD:
            self._cut_at = now
            self._limit = max(1.0, self._limit * THROTTLED_TO)

    def _sample(self, now: float, began: float, size: int) -> None:
        if self._looking and began <= self._period_began:
            return  # sent under the full load
        seconds = now - began
        self._samples.append((_size_class(size), seconds))
        lasts = min(max(PERIOD, ROUND_TRIPS * seconds), LONGEST_PERIOD)
        if len(self._samples) >= LEAST_SAMPLES and now - self._period_began >= lasts:
            self._judge(now)
            self._samples, self._period_began, self._reached = [], now, False

    def _judge(self, now: float) -> None:
        """A period is over."""
        for kind in {kind for kind, _ in self._samples}:
            seen = median(seconds for of, seconds in self._samples if of == kind)
            self._unloaded[kind] = min(seen, self._unloaded.get(kind, seen))
        ratio = median(seconds / self._unloaded[kind] for kind, seconds in self._samples)
        slack = median(seconds - self._unloaded[kind] for kind, seconds in self._samples)
        rose, self._rising = self._rising, ratio > FALLS_ABOVE and slack > FALLS_SLACK and not self._looking
        if self._looking:
            self._looked(now, ratio)
        elif self._rising:
            # The first such period may have begun before the rise, so it says too little of how high it is.
            self._looking, self._before = rose, ratio
        elif not self._reached:
            return
        elif now - self._looked_at > LOOK_EVERY:
            self._looking, self._before = True, None
        elif ratio < RISES_BELOW:
            round_trips = len(self._samples) / self._limit
            self._limit = min(self._most, self._limit + min(round_trips, self._limit))

    def _looked(self, now: float, ratio: float) -> None:
        """A period at half the load is over."""
        if self._before is not None and ratio <= OURS * self._before:
            self._limit = max(1.0, self._limit / 2)
        else:
            self._unloaded = {kind: seconds * ratio for kind, seconds in self._unloaded.items()}
        self._looking, self._looked_at = False, now


class _Rate:
    """How many in the last second."""

    def __init__(self) -> None:
        self._slots = [(-RATE_SLOTS, 0)] * RATE_SLOTS  # (which tenth of a second, how many in it)

    def add(self, now: float) -> None:
        tenth = int(now * RATE_SLOTS)
        of, count = self._slots[tenth % RATE_SLOTS]
        self._slots[tenth % RATE_SLOTS] = tenth, count + 1 if of == tenth else 1

    def a_second(self, now: float) -> float:
        oldest = int(now * RATE_SLOTS) - RATE_SLOTS
        return float(sum(count for of, count in self._slots if of > oldest))


class _Pace:
    """Requests a second, from the first refusal on. ``rate``: what the store took in the last second."""

    def __init__(self, now: float, rate: float) -> None:
        self.refused_at = self._cut_at = self._next = now
        self._plateau = max(LEAST_PACE, rate)

    def a_second(self, now: float) -> float:
        beyond = (now - self._cut_at) / PLATEAU - 1
        return max(LEAST_PACE, self._plateau * (1 + (1 - PACE_SHARE) * beyond**3))

    def turn(self, now: float) -> float:
        turn = max(now, self._next)
        self._next = turn + 1 / self.a_second(now)
        return turn

    def refused(self, now: float, rate: float) -> None:
        self.refused_at = now
        if now - self._cut_at >= CUT_PERIOD:
            self._plateau = max(LEAST_PACE, min(rate, self.a_second(now)))
            self._cut_at = now


def _size_class(size: int) -> int:
    """Bodies of one class take about as long: 0 up to 64 KiB, then one for every factor of four."""
    return max(0, math.ceil(math.log(size / SMALL_BODY, 4))) if size > SMALL_BODY else 0
