"""A worker that has nothing to do is hardly felt by Redis."""

from __future__ import annotations

from penstock.queue.workers import BEAT_SECONDS
from penstock_worker import daemon, guard, redis_watch, sweeper
from penstock_worker.consumer import IDLE_CLAIM_SECONDS

MOST_CALLS_A_SECOND = 2.0
WATCHED_BY = 2
"""Calls of a look: TIME and INFO."""


def test_the_duties_of_an_idle_worker_make_two_calls_a_second_at_most() -> None:
    blocked = 1000 / daemon.WAKE_UP_MS
    others = (IDLE_CLAIM_SECONDS, BEAT_SECONDS, sweeper.LONGEST_SLEEP, guard.LONGEST_SLEEP)
    calls = blocked + sum(1 / seconds for seconds in others) + WATCHED_BY / redis_watch.LOOK_SECONDS
    assert calls <= MOST_CALLS_A_SECOND
