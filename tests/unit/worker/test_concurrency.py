"""What a bucket bears is found out, in simulated time: stores of every kind are filled and not overrun."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from penstock_worker.concurrency import SMALL_BODY, THROTTLED_TO, Limit
from penstock_worker.pace import PACE_ENDS

START, MOST = 12, 128
SIZE = 1000


@dataclass
class Store:
    """Answers after ``latency`` seconds, ``workers`` requests at a time, and refuses above ``most`` a second.

    The second is a fixed one, as the harshest of stores count: all of it can be used up in its first moments.
    """

    latency: Callable[[float, int], float]
    workers: float = float("inf")
    most: float = float("inf")
    refusal: float = 0.002

    jitter: random.Random = field(default_factory=lambda: random.Random(1))
    free_at: list[float] = field(default_factory=list)
    taken: dict[int, int] = field(default_factory=dict)

    def answer(self, now: float, size: int) -> tuple[float, bool]:
        """When a request that begins now is answered, and whether it is stored."""
        taken = self.taken.get(int(now), 0)
        if taken >= self.most:
            return now + self.refusal, False
        self.taken[int(now)] = taken + 1
        begins = now
        if len(self.free_at) >= self.workers:
            begins = max(now, heapq.heappop(self.free_at))
        ends = begins + self.latency(now, size) * self.jitter.uniform(0.9, 1.1)  # without it all would go in step
        if self.workers < float("inf"):
            heapq.heappush(self.free_at, ends)
        return ends, True


@dataclass
class Run:
    """A bucket with always something to do, from ``now`` on; figures are of the last `go`."""

    store: Store
    limit: Limit = field(default_factory=lambda: Limit(START, MOST, 0.0))
    now: float = 0.0
    size: Callable[[int], int] = lambda number: SIZE
    stored: int = 0
    refused: int = 0
    most_in_flight: int = 0
    seconds: float = 0.0
    _answers: list[tuple[float, int, float, int, bool]] = field(default_factory=list)
    _number: int = 0

    def go(self, seconds: float) -> Run:
        self.stored = self.refused = self.most_in_flight = 0
        self.seconds, ends = seconds, self.now + seconds
        while self.now < ends:
            while len(self._answers) < self.limit.allowed():
                begins = self.limit.turn(self.now)
                self._number += 1
                size = self.size(self._number)
                answered, stored = self.store.answer(begins, size)
                heapq.heappush(self._answers, (answered, self._number, begins, size, stored))
                if begins == self.now and len(self._answers) >= self.limit.allowed():
                    self.limit.reached()
            self.most_in_flight = max(self.most_in_flight, len(self._answers))
            self.now, _, began, size, stored = heapq.heappop(self._answers)
            if stored:
                self.stored += 1
                self.limit.stored(self.now, began, size)
            else:
                self.refused += 1
                self.limit.throttled(self.now)
        return self

    @property
    def a_second(self) -> float:
        return self.stored / self.seconds

    @property
    def refusals(self) -> float:
        return self.refused / max(1, self.stored + self.refused)


def always(seconds: float) -> Callable[[float, int], float]:
    return lambda now, size: seconds


@pytest.mark.parametrize("latency", [0.002, 0.03, 0.2])
def test_a_store_that_bears_it_is_filled(latency: float) -> None:
    run = Run(Store(always(latency)))
    assert run.limit.requests == START
    run.go(4 + 200 * latency)
    assert run.limit.requests == MOST
    assert run.go(1 + 20 * latency).a_second == pytest.approx(MOST / latency, rel=0.05)


@pytest.mark.parametrize("latency", [0.002, 0.03])
@pytest.mark.parametrize("most", [10, 300, 2000])
def test_a_store_that_refuses_is_kept_near_its_rate_with_few_refusals(latency: float, most: int) -> None:
    run = Run(Store(always(latency), most=most))
    run.go(20)
    assert run.refusals < 0.25
    run.go(40)
    assert 0.85 * most < run.a_second <= most
    assert run.refusals < 0.05


def test_refusals_that_have_nothing_to_do_with_the_rate_do_not_stop_it_for_long() -> None:
    limit, now = Limit(START, MOST, 0.0), 0.0
    while now < 60:
        now = limit.turn(now)
        limit.stored(now + 0.01, now, SIZE)
        limit.throttled(now + 0.01)
    assert 0 < limit.turn(now) - now < 0.5
    assert Run(Store(always(0.03)), limit, now).go(30).stored > 2000


def test_throttling_cuts_the_requests_in_flight_once_a_period() -> None:
    limit = Limit(START, MOST, 0.0)
    for _ in range(50):
        limit.throttled(10.0)
    assert limit.requests == int(START * THROTTLED_TO)
    for second in range(100):
        limit.throttled(20.0 + second)
    assert limit.requests == limit.allowed() == 1


def test_a_store_that_refuses_no_more_is_filled_again_and_its_pace_is_forgotten() -> None:
    store = Store(always(0.1), most=50)
    run = Run(store)
    run.go(30)
    store.most = float("inf")
    run.go(2 * PACE_ENDS)
    assert run.refused == 0
    assert run.go(10).a_second == pytest.approx(MOST / 0.1, rel=0.05)
    assert run.limit.turn(run.now) == run.limit.turn(run.now) == run.now


def test_latency_that_rises_with_the_load_keeps_the_load_at_what_fills_the_store() -> None:
    run = Run(Store(always(0.3), workers=30))  # a hundred a second, with 30 in flight
    run.go(60)
    for _ in range(10):
        assert run.go(60).a_second > 90
        assert run.limit.requests < 60, "it creeps upwards"


def test_a_store_that_becomes_slower_under_the_load_gets_less_of_it() -> None:
    store = Store(always(0.1))
    run = Run(store)
    run.go(20)
    store.workers = 30
    run.go(60)
    assert run.limit.requests <= MOST / 2
    assert run.go(10).a_second > 270


def test_latency_that_is_not_the_loads_fault_does_not_cut_it() -> None:
    run = Run(Store(lambda now, size: 0.1 if now < 30 else 0.4))
    run.go(90)
    assert run.limit.requests > 0.9 * MOST
    assert run.go(30).a_second > 0.8 * MOST / 0.4


def test_large_bodies_take_longer_than_small_ones_and_that_is_no_rise() -> None:
    store = Store(lambda now, size: 0.03 if size <= SMALL_BODY else 0.3)
    run = Run(
        store, size=lambda number: 16 * SMALL_BODY if number % 400 > 200 else SIZE
    )  # whole periods are of one size
    run.go(120)
    assert run.limit.requests > MOST / 2


def test_requests_that_get_no_answer_in_time_count_as_slow_ones() -> None:
    limit = Limit(START, MOST, 0.0)
    now = 0.0
    for _ in range(200):
        now += 0.01
        limit.stored(now, now - 0.03, SIZE)
    for _ in range(200):
        now += 0.1
        limit.late(now, now - 5, SIZE)
    assert limit.requests <= START // 2


def test_without_need_the_limit_does_not_grow() -> None:
    limit = Limit(START, MOST, 0.0)
    for number in range(5000):
        limit.stored(number / 100, number / 100 - 0.03, SIZE)
    assert limit.requests == START
