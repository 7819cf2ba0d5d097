"""Turns: a bucket gets as many requests at once as it bears, and none takes the others' threads for good."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from penstock_worker.stores import ErrorClass, StoreFault
from penstock_worker.turns import Ended, Turns
from tests.support.wait import wait_until

LIMIT = 30.0
"""Seconds, against hangs only."""
SLOW_DOWN = StoreFault(ErrorClass.THROTTLE, "SlowDown", 503, "slow down")


class Requests:
    """What the turns run: each job waits until it is let go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._free = 0
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done: Counter[str] = Counter()

    def job(self, bucket: str) -> Callable[[], None]:
        return lambda: self._run(bucket)

    def let_go(self, count: int) -> None:
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def step(self) -> None:
        """Lets one go, and returns when another one has taken its thread."""
        done, running = self.done.total(), self.running.total()
        self.let_go(1)
        wait_until(lambda: (self.done.total(), self.running.total()) == (done + 1, running), LIMIT, "the next one")

    def _run(self, bucket: str) -> None:
        with self._changed:
            self.running[bucket] += 1
            self.most[bucket] = max(self.most[bucket], self.running[bucket])
            self._changed.wait_for(lambda: self._free > 0)
            self._free -= 1
            self.running[bucket] -= 1
            self.done[bucket] += 1


@pytest.fixture
def requests() -> Iterator[Requests]:
    made = Requests()
    yield made
    made.let_go(10_000)


@pytest.fixture
def aborting() -> threading.Event:
    return threading.Event()


@pytest.fixture
def turns(aborting: threading.Event) -> Iterator[Turns]:
    made = Turns(3, 5, aborting)
    yield made
    aborting.set()
    made.close()


def test_a_bucket_gets_as_many_requests_at_once_as_its_limit_says(turns: Turns, requests: Requests) -> None:
    turns.submit("one", [requests.job("one")] * 10)
    turns.submit("one", [requests.job("one")] * 10)
    wait_until(lambda: requests.running["one"] == 3, LIMIT, "three are under way")
    requests.let_go(20)
    wait_until(lambda: requests.done["one"] == 20, LIMIT, "all are done")
    assert requests.most["one"] == 3
    assert turns.limits() == {"one": 3}


def test_a_bucket_that_needs_every_thread_gives_some_to_another(turns: Turns, requests: Requests) -> None:
    for bucket in ("one", "two", "three"):
        turns.submit(bucket, [requests.job(bucket)] * 50)
    wait_until(lambda: requests.running.total() == 5, LIMIT, "all threads are in use")
    assert requests.running["three"] == 0
    for _ in range(60):
        requests.step()
    assert min(requests.done[bucket] for bucket in ("one", "two", "three")) >= 10
    requests.let_go(150)
    wait_until(lambda: requests.done.total() == 150, LIMIT, "all are done")


def test_where_no_more_threads_can_be_started_those_there_are_do_it_all(
    turns: Turns, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    turns.submit("busy", [requests.job("busy")] * 10)
    turns.submit("another", [requests.job("another")] * 10)
    wait_until(lambda: requests.running["busy"] == 1, LIMIT, "the one thread there is works")
    for _ in range(5):
        requests.step()
    assert requests.done["another"], "others' threads give way"
    requests.let_go(15)
    wait_until(lambda: requests.done.total() == 20, LIMIT, "all are done")


def test_throttling_makes_requests_wait_and_an_abort_ends_the_wait(
    turns: Turns, requests: Requests, aborting: threading.Event
) -> None:
    requests.let_go(1000)
    turns.record(
        "one", Ended(time.monotonic(), 100, SLOW_DOWN)
    )  # nothing was taken in the last second: one request a second
    assert turns.limits() == {"one": 2}
    turns.submit("one", [requests.job("one")] * 100)
    turns.submit("two", [requests.job("two")] * 10)
    wait_until(lambda: requests.done["two"] == 10, LIMIT, "the other bucket goes on")
    assert requests.done["one"] < 50
    aborting.set()
    wait_until(lambda: requests.done["one"] == 100, LIMIT, "nobody waits any more")


def test_success_raises_the_limit_up_to_the_most(turns: Turns) -> None:
    def work() -> None:
        began = time.monotonic()
        time.sleep(0.002)  # what a store takes
        turns.record("one", Ended(began, 100, None))

    def grown() -> bool:
        turns.submit("one", [work] * 100)
        return turns.limits()["one"] == 5

    wait_until(grown, LIMIT, "five are allowed")


def test_idle_buckets_are_forgotten_when_there_are_very_many(turns: Turns) -> None:
    for number in range(3000):
        turns.record(f"bucket-{number}", Ended(0.0, None, None))
    assert len(turns.limits()) <= 1000


def test_an_urgent_request_is_the_next_one_however_many_wait(turns: Turns, requests: Requests) -> None:
    began: list[str] = []

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            began.append(name)
            requests.job("one")()

        return run

    turns.submit("one", [job("ordinary")] * 10)
    wait_until(lambda: requests.running["one"] == 3, LIMIT, "three are under way")
    turns.submit("one", [], [job("urgent 1"), job("urgent 2")])
    for _ in range(3):
        requests.step()
    assert began[3:] == ["urgent 1", "urgent 2", "ordinary"]


def test_urgent_requests_do_not_starve_the_others(turns: Turns, requests: Requests) -> None:
    turns.submit("one", [requests.job("one")] * 3)
    wait_until(lambda: requests.running["one"] == 3, LIMIT, "three are under way")
    done: list[str] = []
    turns.submit("one", [lambda: done.append("ordinary")] * 2, [lambda: done.append("urgent")] * 20)
    requests.let_go(3)
    wait_until(lambda: len(done) == 22, LIMIT, "all are done")
    assert done.index("ordinary") < 12, "after eight urgent ones, and what other threads began meanwhile"


def test_what_becomes_urgent_while_all_wait_for_the_pace_has_the_next_turn(
    turns: Turns, aborting: threading.Event
) -> None:
    turns.record("one", Ended(time.monotonic(), 100, SLOW_DOWN))  # five requests a second
    done: list[str] = []
    turns.submit("one", [lambda: done.append("ordinary")] * 10)
    wait_until(lambda: done, LIMIT, "the first has gone, and others wait for their turns")
    turns.submit("one", [], [lambda: done.append("urgent")])
    wait_until(lambda: "urgent" in done, LIMIT, "the urgent one has gone")
    assert done.index("urgent") <= 2
    aborting.set()
    wait_until(lambda: len(done) == 11, LIMIT, "none is left behind")
