"""Guards with a list of buckets: what they may not look at is left to those that may, at once."""

from __future__ import annotations

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.contested import OTHERS_SECONDS, due
from penstock.queue.results import Outcome
from tests.support.marks import BUSY, HOLD, contested, stored_while_marked, unknown
from tests.support.queue import ShiftedQueue


def test_a_guard_with_a_list_of_buckets_takes_no_name_of_another_away(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    queue.advance(GUARD_SECONDS)
    found = due(queue.queue, hold=HOLD, busy=BUSY, buckets=["other", "buck", "bucket2"])
    assert (found.names, found.others, found.wait, found.cleared) == ([], 1, None, 0)
    queue.advance(OTHERS_SECONDS[1])
    assert due(queue.queue, hold=HOLD, busy=BUSY, buckets=[]).names == []
    queue.advance(OTHERS_SECONDS[1])
    found = due(queue.queue, hold=HOLD, busy=BUSY, buckets=["other", "bucket"])
    assert ([one.key for one in found.names], found.others) == (["a"], 0)
    assert found.wait == HOLD


def test_a_guard_with_a_list_of_buckets_sleeps_until_its_own_next_name_is_due(queue: ShiftedQueue) -> None:
    unknown(queue, queue.claimed(queue.put("a")))
    queue.advance(1)
    unknown(queue, queue.claimed(queue.put("b", bucket="other")))
    assert due(queue.queue, hold=HOLD, busy=BUSY, buckets=["other"]).wait == GUARD_SECONDS
    assert due(queue.queue, hold=HOLD, busy=BUSY).wait == GUARD_SECONDS - 1


def test_a_mark_that_needs_no_look_goes_whosever_bucket_it_is_of(queue: ShiftedQueue) -> None:
    unknown(queue, queue.claimed(queue.put("a")))
    queue.sweep()
    queue.settle(queue.claim_now(), Outcome.DEAD)
    queue.advance(GUARD_SECONDS)
    assert due(queue.queue, hold=HOLD, busy=BUSY, buckets=["other"]).cleared == 1
    assert contested(queue) == 0
