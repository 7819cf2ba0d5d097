"""How threads share round trips, with a connection that the test holds in its hand."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from penstock import PenstockError, QueueFull, QueueUnavailable, Receipt
from penstock.calls import Caller, Options
from penstock.group_commit import GroupCommit
from penstock.queue.commit import Group
from penstock.queue.enqueue import MAX_CALL_WRITES, Accepted, Prepared
from tests.support.wait import wait_until

T = TypeVar("T")

HANG = 30.0
"""Seconds after which something hangs."""
LONG = 60.0
"""A call's time limit that no test reaches."""


class Channel:
    """In the place of ``sync_channel.Channel``. Each call waits for a permit when the test holds it."""

    def __init__(self, caller: Caller) -> None:
        self.calls: list[list[bytes]] = []
        self.deadlines: list[float] = []
        self.permits = threading.Semaphore(0)
        self.held = False
        self.closed = 0
        self.on_ready: Callable[[], None] = lambda: None
        self.on_send: Callable[[], None] = lambda: None
        self.refused: set[bytes] = set()
        self._seq = itertools.count(1)
        self._users = 0

    def ready(self, deadline: float) -> None:
        self.on_ready()

    def send(self, groups: list[Group], deadline: float) -> list[Accepted | PenstockError]:
        assert self._users == 0, "two leaders at a time"
        self._users += 1
        try:
            self.calls.append([write.name for group in groups for write in group])
            self.deadlines.append(deadline)
            if self.held:
                assert self.permits.acquire(timeout=HANG)
            self.on_send()
            full = QueueFull("items", 1, 1)
            return [
                full if group[0].name in self.refused else [(next(self._seq), False) for _ in group] for group in groups
            ]
        finally:
            self._users -= 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], tuple[GroupCommit, Channel]]:
    def make(timeout: float = LONG) -> tuple[GroupCommit, Channel]:
        monkeypatch.setattr("penstock.group_commit.Channel", Channel)
        commit = GroupCommit(Options("redis://h", "queue", "bucket", timeout, 1000, ()))
        channel = commit._channel
        assert isinstance(channel, Channel)
        return commit, channel

    return make


Made = Callable[..., tuple[GroupCommit, Channel]]


def group(name: str, size: int = 1) -> Group:
    return [Prepared(name.encode(), b"", b"", None, b"") for _ in range(size)]


def gathered(commit: GroupCommit) -> int:
    return len(commit._gathered._waiting)


def start(threads: ThreadPoolExecutor, commit: GroupCommit, *names: str) -> list[Future[list[Receipt]]]:
    """Callers that wait behind the call under way, in this order."""
    futures = []
    for name in names:
        before = gathered(commit)
        futures.append(threads.submit(commit.accept, group(name)))
        wait_until(lambda before=before: gathered(commit) > before, HANG, f"{name} to wait")  # type: ignore[misc]
    return futures


def start_leader(
    threads: ThreadPoolExecutor, commit: GroupCommit, channel: Channel, name: str
) -> Future[list[Receipt]]:
    """A caller that is in the middle of its call, until the test gives a permit."""
    channel.held = True
    calls = len(channel.calls)
    future = threads.submit(commit.accept, group(name))
    wait_until(lambda: len(channel.calls) > calls, HANG, f"{name} to lead")
    return future


def error_of(future: Future[T]) -> BaseException:
    error = future.exception(HANG)
    assert error is not None
    return error


def is_idle(commit: GroupCommit) -> bool:
    return commit._leader is None and not commit._gathered


def test_a_lone_caller_sends_at_once_and_alone(made: Made) -> None:
    commit, channel = made()
    assert commit.accept(group("a")) == [Receipt(1, False)]
    assert commit.accept(group("b", 2)) == [Receipt(2, False), Receipt(3, False)]
    assert channel.calls == [[b"a"], [b"b", b"b"]]
    assert is_idle(commit)


def test_callers_that_come_during_a_call_share_the_next_one_in_order(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    futures = [start_leader(threads, commit, channel, "a"), *start(threads, commit, *"bcd")]
    channel.permits.release(2)
    assert [future.result(HANG)[0].seq for future in futures] == [1, 2, 3, 4]
    assert channel.calls == [[b"a"], [b"b", b"c", b"d"]]
    assert is_idle(commit)


def test_a_shared_call_has_the_time_of_the_newest_caller(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    futures = [start_leader(threads, commit, channel, "a"), *start(threads, commit, "b")]
    after_b = time.monotonic()
    futures += start(threads, commit, "c")
    channel.permits.release(2)
    for future in futures:
        future.result(HANG)
    assert channel.deadlines[1] >= after_b + LONG


def test_one_callers_refusal_is_no_neighbours(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    channel.refused = {b"c"}
    futures = [start_leader(threads, commit, channel, "a"), *start(threads, commit, *"bcd")]
    channel.permits.release(2)
    assert isinstance(error_of(futures[2]), QueueFull)
    assert [futures[at].result(HANG)[0].seq for at in (0, 1, 3)] == [1, 2, 3]


def test_a_failure_that_is_shared_is_raised_as_an_error_of_each_callers_own(
    made: Made, threads: ThreadPoolExecutor
) -> None:
    commit, channel = made()
    channel.refused = {b"b", b"c", b"d"}
    futures = [start_leader(threads, commit, channel, "a"), *start(threads, commit, *"bcd")]
    channel.permits.release(2)
    errors = [error_of(future) for future in futures[1:]]
    assert len({id(error) for error in errors}) == 3
    assert len({id(error.__traceback__) for error in errors}) == 3
    errors[0].receipts = (Receipt(1, False),)  # type: ignore[attr-defined]
    assert errors[1].receipts == ()  # type: ignore[attr-defined]


def test_a_leader_whose_write_was_not_in_the_call_leads_again(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    first = start_leader(threads, commit, channel, "a")
    big = threads.submit(commit.accept, group("big", MAX_CALL_WRITES))
    wait_until(lambda: gathered(commit) == 1, HANG, "the big one to wait")
    (late,) = start(threads, commit, "late")
    channel.permits.release(3)
    assert first.result(HANG)[0].seq == 1
    assert len(big.result(HANG)) == MAX_CALL_WRITES
    assert late.result(HANG)
    assert [len(call) for call in channel.calls] == [1, MAX_CALL_WRITES, 1]
    assert is_idle(commit)


class SoftTimeLimit(BaseException):
    """As an interrupt, or Celery's soft time limit: comes from outside, at any point."""


def test_an_interrupted_leader_fails_its_call_and_hands_over(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    first = start_leader(threads, commit, channel, "a")
    mates = start(threads, commit, "b", "c")
    channel.permits.release()
    first.result(HANG)
    wait_until(lambda: len(channel.calls) == 2, HANG, "c to lead b and c")
    (waiting,) = start(threads, commit, "d")

    def interrupt() -> None:
        channel.on_send = lambda: None
        raise SoftTimeLimit

    channel.on_send = interrupt
    channel.permits.release(2)
    assert isinstance(error_of(mates[1]), SoftTimeLimit)
    error = error_of(mates[0])
    assert isinstance(error, QueueUnavailable)
    assert error.maybe_accepted
    assert waiting.result(HANG)
    channel.held = False
    assert commit.accept(group("e"))
    assert is_idle(commit)


def test_an_interrupt_while_connecting_is_the_leaders_alone(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    entered, go_on = threading.Event(), threading.Event()

    def hang_then_interrupt() -> None:
        entered.set()
        assert go_on.wait(HANG)
        channel.on_ready = lambda: None
        raise SoftTimeLimit

    channel.on_ready = hang_then_interrupt
    leader = threads.submit(commit.accept, group("a"))
    assert entered.wait(HANG)
    followers = start(threads, commit, "b", "c")
    go_on.set()
    assert isinstance(error_of(leader), SoftTimeLimit)
    assert [future.result(HANG)[0].seq for future in followers] == [1, 2]
    assert channel.calls == [[b"b", b"c"]]  # what the leader wanted to put was never sent


def test_while_there_is_no_connection_each_caller_fails_for_itself_and_knows_that_nothing_was_sent(
    made: Made, threads: ThreadPoolExecutor
) -> None:
    commit, channel = made(0.2)

    def away() -> None:
        time.sleep(0.02)
        raise QueueUnavailable("away", maybe_accepted=False)

    channel.on_ready = away
    errors = [error_of(future) for future in [threads.submit(commit.accept, group(str(at))) for at in range(32)]]
    assert [error.maybe_accepted for error in errors if isinstance(error, QueueUnavailable)] == [False] * 32
    assert channel.calls == []
    assert is_idle(commit)


def test_a_caller_whose_time_is_up_before_its_turn_is_never_sent(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made(0.05)
    leader = start_leader(threads, commit, channel, "a")
    error = error_of(threads.submit(commit.accept, group("b")))
    assert isinstance(error, QueueUnavailable)
    assert not error.maybe_accepted
    channel.permits.release()
    leader.result(HANG)
    assert channel.calls == [[b"a"]]
    assert is_idle(commit)


def test_a_caller_whose_time_is_up_while_its_write_is_on_the_way_is_told_so(
    made: Made, threads: ThreadPoolExecutor
) -> None:
    commit, channel = made(1.0)
    first = start_leader(threads, commit, channel, "a")
    futures = start(threads, commit, "b", "c")  # c will lead b
    channel.permits.release()
    first.result(HANG)
    error = error_of(futures[0])
    assert isinstance(error, QueueUnavailable)
    assert error.maybe_accepted
    channel.permits.release()
    assert futures[1].result(HANG)
    assert is_idle(commit)


def test_close_waits_for_the_calls_that_run_and_refuses_later_ones(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    leader = start_leader(threads, commit, channel, "a")
    (follower,) = start(threads, commit, "b")
    closing = threads.submit(commit.close)
    wait_until(lambda: commit.closed, HANG, "close to begin")
    with pytest.raises(QueueUnavailable, match="closed") as caught:
        commit.accept(group("c"))
    assert not caught.value.maybe_accepted
    assert not closing.done()
    assert channel.closed == 0
    channel.permits.release(2)
    assert leader.result(HANG)
    assert follower.result(HANG)
    closing.result(HANG)
    assert channel.closed == 1


def test_close_does_not_wait_for_ever(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made(0.05)
    leader = start_leader(threads, commit, channel, "a")
    commit.close()
    channel.permits.release()
    leader.result(HANG)
    wait_until(lambda: channel.closed == 1, HANG, "the last leader to close the connection")


def test_whatever_the_timing_each_caller_is_told_the_truth(made: Made, threads: ThreadPoolExecutor) -> None:
    """Callers that run out of time at every point, against a connection that is sometimes slow and sometimes away."""
    commit, channel = made(0.004)
    dice = random.Random(7)

    def sometimes_slow() -> None:
        time.sleep(dice.choice((0, 0, 0.001, 0.003, 0.005)))

    def sometimes_away() -> None:
        if dice.random() < 0.1:
            sometimes_slow()
            raise QueueUnavailable("away", maybe_accepted=False)

    channel.on_send = sometimes_slow
    channel.on_ready = sometimes_away
    names = (f"{number}" for number in itertools.count())
    lock = threading.Lock()
    told: dict[bytes, str] = {}

    def caller() -> None:
        for _ in range(60):
            with lock:
                name = next(names)
            try:
                commit.accept(group(name))
                told[name.encode()] = "accepted"
            except QueueUnavailable as error:
                told[name.encode()] = "maybe" if error.maybe_accepted else "no"

    for future in [threads.submit(caller) for _ in range(24)]:
        future.result(HANG)
    sent = [name for call in channel.calls for name in call]
    assert len(sent) == len(set(sent)), "sent twice"
    assert {name for name, outcome in told.items() if outcome == "no"}.isdisjoint(sent)
    assert {name for name, outcome in told.items() if outcome != "no"} == set(sent)
    assert set(told.values()) == {"accepted", "maybe", "no"}, "the test met too few cases"
    assert is_idle(commit)
