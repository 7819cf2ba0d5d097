"""When a batch is due, and what fits into it."""

from __future__ import annotations

import pytest

from penstock.queue.names import LAYOUT_VERSION
from penstock.queue.results import Outcome
from tests.support.queue import LARGE, MAX_WAIT, ShiftedQueue, keys_of


def _accept(queue: ShiftedQueue, count: int, tenant: str = "") -> None:
    queue.enqueue(*[queue.put(f"{number:04}", tenant=tenant) for number in range(count)])


def test_nothing_waits_nothing_is_claimed(queue: ShiftedQueue) -> None:
    reply = queue.claim()
    assert (reply.batches, reply.wait) == ([], None)


def test_a_young_batch_waits_for_exactly_as_long_as_its_oldest_write_may(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("old", priority="low"))
    queue.advance(0.5)
    queue.enqueue(queue.put("young", priority="high"))
    reply = queue.claim()
    assert (reply.batches, reply.wait) == ([], MAX_WAIT - 0.5)
    queue.advance(MAX_WAIT - 0.5 - 1e-6)
    assert queue.claim().batches == []
    queue.advance(1e-6)
    (batch,) = queue.claim().batches
    assert sorted(keys_of(batch)) == ["old", "young"]


def test_a_batch_is_due_when_it_has_its_items(queue: ShiftedQueue) -> None:
    _accept(queue, 24)
    assert queue.claim().batches == []
    queue.enqueue(queue.put("last"))
    (batch,) = queue.claim().batches
    assert len(batch.writes) == 25


def test_a_batch_is_due_when_it_has_its_bytes(queue: ShiftedQueue) -> None:
    size = len(queue.put("a").tail)
    queue.enqueue(queue.put("a"), queue.put("b"))
    assert queue.claim(max_bytes=2 * size + 1).batches == []
    assert len(queue.claim(max_bytes=2 * size).batches) == 1


def test_a_critical_write_is_due_at_once_and_others_keep_their_own_time(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("normal"), queue.put("critical", priority="critical"))
    reply = queue.claim(batches=2)
    assert [keys_of(batch) for batch in reply.batches] == [["critical"]]
    assert reply.wait == MAX_WAIT
    queue.advance(MAX_WAIT)
    assert keys_of(queue.claim().batches[0]) == ["normal"]


def test_a_claim_says_that_more_is_due_now(queue: ShiftedQueue) -> None:
    _accept(queue, 50)
    assert queue.claim().wait == 0
    assert queue.claim().wait is None


def test_several_batches_only_while_they_are_full(queue: ShiftedQueue) -> None:
    _accept(queue, 60)
    queue.advance(MAX_WAIT)
    reply = queue.claim(batches=4)
    assert [len(batch.writes) for batch in reply.batches] == [25, 25]
    assert len({batch.token for batch in reply.batches}) == 2
    assert reply.wait == 0
    assert [len(batch.writes) for batch in queue.claim(batches=4).batches] == [10]


def test_no_more_batches_than_tokens(queue: ShiftedQueue) -> None:
    _accept(queue, 100)
    assert len(queue.claim(batches=3).batches) == 3


def test_a_batch_holds_no_more_bytes_than_it_may(queue: ShiftedQueue) -> None:
    size = len(queue.put("a").tail)
    _accept(queue, 5)
    batches = [queue.claim_now(max_bytes=2 * size).writes for _ in range(3)]
    assert [len(writes) for writes in batches] == [2, 2, 1]


def test_all_batches_of_a_claim_fit_the_budget(queue: ShiftedQueue) -> None:
    size = len(queue.put("a").tail)
    _accept(queue, 6)
    reply = queue.claim(batches=3, max_items=2, budget=3 * size, holds_none=False)
    assert [len(batch.writes) for batch in reply.batches] == [2, 1]
    assert queue.claim(max_items=2, budget=size - 1, holds_none=False).batches == []


def test_a_write_over_the_budget_is_claimed_alone_by_a_worker_that_holds_nothing(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("large", LARGE), queue.put("small"))
    assert queue.claim(max_wait=0, budget=len(LARGE), holds_none=False).batches == []
    assert keys_of(queue.claim_now(budget=len(LARGE), holds_none=True)) == ["large"]


def test_a_write_over_a_batch_s_bytes_but_within_the_budget_is_a_batch_of_its_own(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("large", LARGE), queue.put("small"))
    assert keys_of(queue.claim_now(max_bytes=1000, holds_none=False)) == ["large"]


def test_a_write_that_did_not_fit_comes_first_in_the_next_batch(queue: ShiftedQueue) -> None:
    size = len(queue.put("0000").tail)
    queue.enqueue(*[queue.put(f"{number:04}", tenant="many") for number in range(64)])
    queue.enqueue(queue.put("large", LARGE, tenant="rare"))
    batches = [keys_of(queue.claim_now(max_bytes=len(LARGE) + 5 * size)) for _ in range(2)]
    assert "large" in batches[0] + batches[1]


@pytest.mark.parametrize("max_items", [1, 3, 7, 25, 100, 1000, 5000])
def test_a_batch_takes_hundreds_of_deletes(queue: ShiftedQueue, max_items: int) -> None:
    for start in range(0, 1024, 256):
        queue.enqueue(*[queue.delete(f"{number:04}") for number in range(start, start + 256)])
    keys: list[str] = []
    for _ in range(4):
        batch = queue.claim_now(max_items=max_items)
        assert 250 < len(batch.writes) <= 1000 or len(keys) > 750
        keys += keys_of(batch)
        queue.settle(batch)
    assert keys == [f"{number:04}" for number in range(1024)]


def test_deletes_take_the_room_of_a_fortieth_put_each(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.delete(f"{number:04}") for number in range(41)])
    _accept(queue, 30, tenant="t")
    queue.enqueue(*[queue.put(f"put-{number:02}", tenant="t") for number in range(30)])
    writes = queue.claim_now().writes
    puts = [write for write in writes if not write.is_delete]
    assert len(puts) + (len(writes) - len(puts)) / 40 <= 25
    assert len(writes) > 25


def test_a_claimed_write_is_claimed_by_nobody_else(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a"))
    reply = queue.claim(max_wait=0)
    assert (reply.batches, reply.wait) == ([], None)


def test_a_delayed_write_is_not_claimed(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("a")), Outcome.RETRY, delay=60)
    assert queue.claim(max_wait=0).batches == []


def test_an_attempt_is_counted_by_the_claim_itself(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    assert [write.attempts for write in batch.writes] == [1]
    queue.advance(60)
    queue.sweep()  # the worker died without a word
    assert [write.attempts for write in queue.claim_now().writes] == [2]


def test_only_one_write_over_the_budget_is_claimed_at_once(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", LARGE), queue.put("b", LARGE))
    reply = queue.claim(max_wait=0, max_items=1, budget=1, holds_none=True, batches=2)
    assert [keys_of(batch) for batch in reply.batches] == [["a"]]


def test_writes_that_redis_evicted_do_not_stop_the_claims_of_others(redis_url: str, queue_name: str) -> None:
    queue = ShiftedQueue(redis_url, queue_name)  # no fixture: a layout with a hole is what this is about
    try:
        queue.enqueue(queue.put("evicted"))
        queue.client.delete(queue.prefix + "write")
        queue.enqueue(queue.put("kept"))
        reply = queue.claim(max_wait=0)
        assert (reply.missing, keys_of(reply.batches[0])) == (1, ["kept"])
        assert queue.claim(max_wait=0).missing == 0
    finally:
        queue.close()


def test_a_small_critical_write_does_not_wait_behind_a_low_one_that_the_budget_has_no_room_for(
    queue: ShiftedQueue,
) -> None:
    for number in range(8):  # the critical ones' credit is spent, so that the low one's turn comes
        queue.enqueue(queue.put(f"spent-{number}", priority="critical"))
        queue.enqueue(queue.put(f"low-{number}", priority="low"))
        queue.settle(queue.claim(max_items=1, max_wait=0).batches[0])
    queue.enqueue(queue.put("large", b"x" * 5000, priority="low"), queue.put("urgent", priority="critical"))
    reply = queue.claim(budget=1000, holds_none=False)
    assert "urgent" in keys_of(reply.batches[0])


def test_a_queue_that_only_workers_have_met_has_its_layout(queue: ShiftedQueue) -> None:
    """Or a producer of an older one, coming later, would take the queue for its own."""
    queue.claim()
    assert queue.client.hget(queue.prefix + "meta", "layout") == str(LAYOUT_VERSION).encode()


def test_a_claim_tells_of_the_write_whose_turn_it_was_and_that_did_not_fit(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("large", b"x" * 5000), queue.put("small", priority="low"))
    reply = queue.claim(max_wait=0, budget=1000, holds_none=False)
    assert keys_of(reply.batches[0]) == ["small"]
    queue.enqueue(queue.put("small", priority="low"))
    reply = queue.claim(max_wait=0, budget=reply.needs, holds_none=False)
    assert keys_of(reply.batches[0]) == ["large"]
    assert queue.claim(max_wait=0, budget=1000, holds_none=False).needs == 0
