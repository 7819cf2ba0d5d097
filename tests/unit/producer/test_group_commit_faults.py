"""Callers that are interrupted, or run out of time, at any point."""

from __future__ import annotations

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock import QueueUnavailable
from tests.support.held_channel import (
    HANG,
    LONG,
    HeldChannel,
    Made,
    error_of,
    gathered,
    group,
    is_idle,
    start,
    start_leader,
)
from tests.support.wait import wait_until


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
    assert [future.result(HANG)[0][0] for future in followers] == [1, 2]
    assert channel.calls == [[b"b", b"c"]]  # what the leader wanted to put was never sent


def connect_slowly(channel: HeldChannel) -> tuple[threading.Event, threading.Event]:
    """Connecting has begun; it may end."""
    began, end = threading.Event(), threading.Event()

    def hang() -> None:
        if not began.is_set():
            began.set()
            assert end.wait(HANG)

    channel.on_ready = hang
    return began, end


def test_who_comes_while_another_caller_connects_has_all_of_its_own_time(
    made: Made, threads: ThreadPoolExecutor
) -> None:
    commit, channel = made()
    began, end = connect_slowly(channel)
    now = time.monotonic()
    leader = threads.submit(commit.accept, group("a"), now + LONG)
    assert began.wait(HANG)
    newer = threads.submit(commit.accept, group("b"), now + 2 * LONG)
    wait_until(lambda: gathered(commit) == 2, HANG, "b to wait")
    end.set()
    assert [future.result(HANG)[0][0] for future in (leader, newer)] == [1, 2]
    assert channel.calls == [[b"a", b"b"]]
    assert channel.deadlines == [now + 2 * LONG]
    assert is_idle(commit)


def test_who_stepped_aside_ends_within_its_own_time_and_takes_nobody_along(
    made: Made, threads: ThreadPoolExecutor
) -> None:
    commit, channel = made()
    began, end = connect_slowly(channel)
    channel.held = True
    leader = threads.submit(commit.accept, group("a"), time.monotonic() + 1.0)
    assert began.wait(HANG)
    newer = threads.submit(commit.accept, group("b"), time.monotonic() + LONG)
    wait_until(lambda: gathered(commit) == 2, HANG, "b to wait")
    end.set()
    error = error_of(leader)
    assert isinstance(error, QueueUnavailable)
    assert error.maybe_accepted
    assert not newer.done()
    channel.permits.release()
    assert newer.result(HANG)
    assert is_idle(commit)


def test_who_stepped_aside_leads_again_when_the_newer_one_is_gone(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    began, end = connect_slowly(channel)
    now = time.monotonic()
    leader = threads.submit(commit.accept, group("a"), now + LONG)
    assert began.wait(HANG)
    newer = threads.submit(commit.accept, group("b"), now + 2 * LONG)
    wait_until(lambda: gathered(commit) == 2, HANG, "b to wait")

    def interrupted() -> None:  # when b looks for the connection in its turn
        channel.on_ready = lambda: None
        raise SoftTimeLimit

    channel.on_ready = interrupted
    end.set()
    assert isinstance(error_of(newer), SoftTimeLimit)
    assert leader.result(HANG) == [(1, False)]
    assert channel.calls == [[b"a"]]
    assert channel.deadlines == [now + LONG]
    assert is_idle(commit)


def test_who_connects_and_has_more_time_than_the_newest_keeps_the_lead(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    began, end = connect_slowly(channel)
    now = time.monotonic()
    leader = threads.submit(commit.accept, group("a"), now + 2 * LONG)
    assert began.wait(HANG)
    newer = threads.submit(commit.accept, group("b"), now + LONG)  # its second time, at another shard
    wait_until(lambda: gathered(commit) == 2, HANG, "b to wait")
    end.set()
    assert [future.result(HANG)[0][0] for future in (leader, newer)] == [1, 2]
    assert channel.deadlines == [now + 2 * LONG]


def test_an_interrupt_while_a_caller_leaves_takes_the_lead_from_nobody(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, channel = made()
    hand_over = commit._hand_over

    def interrupted() -> None:
        monkeypatch.setattr(commit, "_hand_over", hand_over)
        raise SoftTimeLimit

    monkeypatch.setattr(commit, "_hand_over", interrupted)
    with pytest.raises(SoftTimeLimit):
        commit.accept(group("a"))
    assert is_idle(commit)
    assert commit.accept(group("b"))
    assert channel.calls == [[b"a"], [b"b"]]


def test_while_there_is_no_connection_each_caller_fails_for_itself_and_knows_that_nothing_was_sent(
    made: Made, threads: ThreadPoolExecutor
) -> None:
    commit, channel = made(0.2)

    def away() -> None:
        time.sleep(0.02)  # not a wait of the test's: the stand-in for a connection that takes its time to fail
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


def test_whatever_the_timing_each_caller_is_told_the_truth(made: Made, threads: ThreadPoolExecutor) -> None:
    """Callers that run out of time at every point, against a connection that is sometimes slow and sometimes away."""
    commit, channel = made(0.004)
    dice = random.Random(7)

    def sometimes_slow() -> None:
        time.sleep(dice.choice((0, 0, 0.001, 0.003, 0.005)))  # the stand-in for a connection of varying speed

    def sometimes_away() -> None:
        channel.connects = dice.random() < 0.3
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
