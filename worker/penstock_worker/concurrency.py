"""How many requests a bucket bears, at once and a second, found out from what comes back.

A `Limit` says how many may be in flight. While all of them are used it grows by one a round trip, as long as more
requests at once also get more done; throttling cuts it, and so does latency that rises with the load. It knows neither
threads nor clocks: `turns.py` holds a lock and tells the time, in seconds.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from statistics import median

from penstock_worker.pace import Pace, Rate

PERIOD = 0.25
"""The least time over which a limit is judged. A period also lasts `ROUND_TRIPS` of the requests it saw."""
LONGEST_PERIOD = 2.0
ROUND_TRIPS = 2
LEAST_SAMPLES = 8
"""Requests a period must have seen: fewer say little."""

STEP = 1.5
WORTH = 0.4
"""Each time the limit has grown to so many times what it was, at least this share of the additional requests must show
in what is done. Else the host or the store is at its end, and the limit goes back."""
WORTHLESS = 0.15
"""The upper half of a limit goes when it shows with less than this share."""
REST = 10.0
"""Seconds after which a limit that went back is tried again, downwards and upwards."""

RISEN = 1.75
RISEN_SLACK = 0.01
"""Latency of so many times that of an unloaded store, and so many seconds above it, for two periods makes us look at
once. On a busy host a request of a millisecond often takes three."""

THROTTLED_TO = 0.7
"""Throttling cuts the limit to this share, once in `CUT_PERIOD` seconds: one cut must show before the next."""
CUT_PERIOD = 1.0

SMALL_BODY = 64 * 1024


class _Phase(Enum):
    CLIMBING = auto()
    RESTING = auto()
    LOOKING = auto()  # at what fewer requests get done


class Limit:
    """One bucket's. Not safe to share between threads. ``start`` and ``most``: requests in flight."""

    def __init__(self, start: int, most: int, now: float) -> None:
        self._start, self._most = start, most
        self._limit = start
        self._fewer = start
        self._phase = _Phase.CLIMBING
        self._rests_until = now
        self._before: tuple[int, float] | None = None  # a limit to compare with, and what it got done
        self._was_rising = False
        self._risen_until = now
        self._unloaded: dict[int, float] = {}  # seconds that a request takes of an unloaded store, by size class
        self._samples: list[tuple[int, float, bool]] = []  # size class, seconds, whether it was done
        self._changed_at = now
        self._period_began: float | None = None
        self._reached = False
        self._rate = Rate()
        self._pace: Pace | None = None
        self._cut_at = -math.inf

    @property
    def requests(self) -> int:
        """Requests that the bucket bears at once, as far as is known."""
        return self._limit

    def allowed(self) -> int:
        """Requests that may be in flight now: fewer for a moment, to see what they get done."""
        return self._fewer if self._phase is _Phase.LOOKING else self._limit

    def turn(self, now: float) -> float:
        """Takes the next turn and returns its time: when a request may begin by the pace."""
        if self._pace is not None and self._pace.is_over(now):
            self._pace = None
        return now if self._pace is None else self._pace.turn(now)

    def reached(self) -> None:
        """As many requests as are allowed are under way, and more wait."""
        self._reached = True

    def stored(self, now: float, began: float, size: int | None) -> None:
        """A request has succeeded. ``size``: bytes sent, or None when they say nothing of how long it takes."""
        self._rate.add(now)
        if size is not None:
            self._sample(now, began, size, done=True)

    def late(self, now: float, began: float, size: int) -> None:
        """A request got no answer in time: it takes that long at least."""
        self._sample(now, began, size, done=False)

    def throttled(self, now: float) -> None:
        rate = self._rate.a_second(now)
        if self._pace is None:
            self._pace = Pace(now, rate)
        else:
            self._pace.refused(now, rate)
        if now - self._cut_at >= CUT_PERIOD:
            self._cut_at = now
            self._before = None
            self._change(now, _Phase.CLIMBING, max(1, int(self._limit * THROTTLED_TO)))

    # -- judging ------------------------------------------------------------------------------------------------

    def _change(self, now: float, phase: _Phase, limit: int) -> None:
        """What was under way before says nothing of the time from now on."""
        self._phase, self._limit = phase, limit
        self._changed_at, self._period_began = now, None

    def _sample(self, now: float, began: float, size: int, *, done: bool) -> None:
        if self._period_began is None:
            if began > self._changed_at:
                self._begin_period(now)
            return
        seconds = now - began
        self._samples.append((_size_class(size), seconds, done))
        lasts = min(max(PERIOD, ROUND_TRIPS * seconds), LONGEST_PERIOD)
        if len(self._samples) >= LEAST_SAMPLES and now - self._period_began >= lasts:
            self._judge(now, now - self._period_began)
            if self._period_began is not None:
                self._begin_period(now)

    def _begin_period(self, now: float) -> None:
        self._period_began, self._samples, self._reached = now, [], False

    def _judge(self, now: float, lasted: float) -> None:
        """A period is over. What it got done is measured in seconds of an unloaded store, so that sizes may differ."""
        for kind in {kind for kind, _, _ in self._samples}:
            seen = median(seconds for of, seconds, _ in self._samples if of == kind)
            self._unloaded[kind] = min(seen, self._unloaded.get(kind, seen))
        ratio = median(seconds / self._unloaded[kind] for kind, seconds, _ in self._samples)
        slack = median(seconds - self._unloaded[kind] for kind, seconds, _ in self._samples)
        done = sum(self._unloaded[kind] for kind, _, done in self._samples if done) / lasted
        was_rising, self._was_rising = self._was_rising, ratio > RISEN and slack > RISEN_SLACK
        if self._phase is _Phase.LOOKING:
            self._looked(now, done, ratio)
        elif self._was_rising and was_rising and now >= self._risen_until:  # the first may have begun before the rise
            self._look(now, done, max(1, self._limit // 2))
        elif not self._reached:
            self._before = None
        elif self._phase is _Phase.CLIMBING:
            self._climb(now, done)
        elif now >= self._rests_until:
            self._look(now, done, max(min(self._start, self._limit), self._limit // 2))

    def _climb(self, now: float, done: float) -> None:
        limit, before = self._before or (self._limit, done)
        if self._before is None or self._limit >= limit * STEP or self._limit == self._most:
            if done < before * _expected(self._limit / limit, WORTH):
                self._rest(now, limit)
                return
            self._before = self._limit, done
        if self._limit == self._most:
            self._rest(now, self._limit)
            return
        round_trips = 1 + len(self._samples) // self._limit  # and one before the period could begin
        more = min(round_trips, max(1, int(self._limit * (STEP - 1))))
        self._change(now, _Phase.CLIMBING, min(self._limit + more, self._most))

    def _rest(self, now: float, limit: int) -> None:
        self._rests_until, self._before = now + REST, None
        self._change(now, _Phase.RESTING, limit)

    def _look(self, now: float, done: float, fewer: int) -> None:
        self._before, self._fewer = (self._limit, done), fewer
        self._change(now, _Phase.LOOKING, self._limit)

    def _looked(self, now: float, done: float, ratio: float) -> None:
        limit, before = self._before or (self._limit, done)
        self._before, self._was_rising = None, False
        if self._fewer < limit and before <= done * _expected(limit / self._fewer, WORTHLESS):
            self._rest(now, self._fewer)
        else:
            # Fewer would get less done: what they take is what a request takes by now.
            self._unloaded = {kind: seconds * ratio for kind, seconds in self._unloaded.items()}
            self._risen_until = now + REST
            self._change(now, _Phase.CLIMBING, limit)


def _expected(times: float, share: float) -> float:
    """So many times as many requests get so many times as much done if ``share`` of the additional ones shows."""
    return 1 + share * (times - 1)


def _size_class(size: int) -> int:
    """Bodies of one class take about as long: 0 up to 64 KiB, then one for every factor of four."""
    return max(0, math.ceil(math.log(size / SMALL_BODY, 4))) if size > SMALL_BODY else 0
