"""How threads share round trips, with a connection that the test holds in its hand."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock import QueueFull, QueueUnavailable, Receipt
from penstock.queue.enqueue import MAX_CALL_WRITES
from tests.support.held_channel import HANG, LONG, Made, error_of, gathered, group, is_idle, start, start_leader
from tests.support.wait import wait_until


def test_a_lone_caller_sends_at_once_and_alone(made: Made) -> None:
    commit, channel = made()
    assert commit.accept(group("bucket/a")) == [(1, False)]
    assert commit.accept(group("b", 2)) == [(2, False), (3, False)]
    assert channel.calls == [[b"bucket/a"], [b"b", b"b"]]
    assert is_idle(commit)


def test_callers_that_come_during_a_call_share_the_next_one_in_order(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    futures = [start_leader(threads, commit, channel, "a"), *start(threads, commit, *"bcd")]
    channel.permits.release(2)
    assert [future.result(HANG)[0][0] for future in futures] == [1, 2, 3, 4]
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
    assert [futures[at].result(HANG)[0][0] for at in (0, 1, 3)] == [1, 2, 3]


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
    assert first.result(HANG)[0][0] == 1
    assert len(big.result(HANG)) == MAX_CALL_WRITES
    assert late.result(HANG)
    assert [len(call) for call in channel.calls] == [1, MAX_CALL_WRITES, 1]
    assert is_idle(commit)


def test_close_waits_for_the_calls_that_run_and_refuses_later_ones(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    leader = start_leader(threads, commit, channel, "a")
    (follower,) = start(threads, commit, "b")
    closing = threads.submit(commit.close)
    wait_until(lambda: commit._closed, HANG, "close to begin")
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


def test_what_a_caller_does_meanwhile_is_done_during_its_own_call_only(made: Made, threads: ThreadPoolExecutor) -> None:
    commit, channel = made()
    done: list[int] = []

    def note() -> None:
        done.append(len(channel.calls))

    commit.accept(group("alone"), meanwhile=note)
    assert done == [1]
    first = start_leader(threads, commit, channel, "other")
    shares = start(threads, commit, "shares its call")
    many = threads.submit(commit.accept, group("many"), meanwhile=note)
    wait_until(lambda: gathered(commit) == 2, HANG, "many to wait")
    channel.permits.release(2)
    for future in (first, *shares, many):
        future.result(HANG)
    assert channel.calls == [[b"alone"], [b"other"], [b"shares its call", b"many"]]
    assert done == [1], "nobody waits for what another one does"
