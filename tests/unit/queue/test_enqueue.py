"""Accepting writes: order, coalescing, and calls that are sent again."""

from __future__ import annotations

import pytest

from penstock.errors import QueueUnavailable
from penstock.queue.results import Outcome
from tests.support.queue import MAX_ATTEMPTS, START, ShiftedQueue, body_of, keys_of


def test_an_accepted_write_can_be_claimed_with_all_it_was_given(queue: ShiftedQueue) -> None:
    ((seq, coalesced),) = queue.enqueue(queue.put("a/b.json", b"\x00body\xff", priority="high", tenant="t"))
    (write,) = queue.claim_now().writes
    record = write.record()
    assert not coalesced
    assert (write.bucket, write.key, write.seq, write.priority, write.tenant) == ("bucket", "a/b.json", seq, 1, b"t")
    assert (write.since, write.attempts, write.is_delete) == (START, 1, False)
    assert (record.seq, record.tenant, body_of(write), record.body_size) == (seq, "t", b"\x00body\xff", 6)


def test_a_newer_write_of_a_waiting_name_keeps_its_place_and_age(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("first", b"old"))
    queue.advance(1)
    queue.enqueue(queue.put("second"))
    queue.advance(1)
    ((_, coalesced),) = queue.enqueue(queue.put("first", b"new"))
    first, second = queue.claim_now().writes
    assert coalesced
    assert (first.key, first.since, body_of(first)) == ("first", START, b"new")
    assert second.key == "second"


def test_the_newer_write_counts_for_all_but_age_and_priority(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("key", b"old", tenant="old"))
    queue.enqueue(queue.delete("key", tenant="new"))
    (write,) = queue.claim_now().writes
    assert (write.is_delete, write.tenant, body_of(write)) == (True, b"new", b"")


@pytest.mark.parametrize(("before", "after"), [("low", "critical"), ("critical", "low"), ("normal", "normal")])
def test_the_higher_of_the_two_priorities_counts(queue: ShiftedQueue, before: str, after: str) -> None:
    queue.enqueue(queue.put("key", priority=before))
    queue.enqueue(queue.put("key", priority=after))
    ready = {name: count for name, count in queue.stats().ready.items() if count}
    assert ready == {("critical" if "critical" in (before, after) else "normal"): 1}


def test_a_changed_tenant_moves_the_write_to_the_other_flow_with_its_age(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("key", tenant="a"), queue.put("stays", tenant="a"))
    queue.advance(1)
    queue.enqueue(queue.put("key", tenant="b"))
    writes = {write.key: write for write in queue.claim_now().writes}
    assert {key: write.tenant for key, write in writes.items()} == {"key": b"b", "stays": b"a"}
    assert writes["key"].since == START


def test_one_call_may_write_a_name_several_times_and_the_last_counts(queue: ShiftedQueue) -> None:
    accepted = queue.enqueue(
        queue.put("key", b"1", tenant="a"),
        queue.put("key", b"2", tenant="b", priority="high"),
        queue.put("key", b"3", tenant="a"),
        queue.put("other", tenant="b"),
    )
    assert [coalesced for _, coalesced in accepted] == [False, True, True, False]
    writes = {write.key: write for write in queue.claim_now().writes}
    assert writes.keys() == {"key", "other"}
    assert (body_of(writes["key"]), writes["key"].priority, writes["key"].tenant) == (b"3", 1, b"a")


def test_attempts_belong_to_a_write_and_start_again_with_a_newer_one(queue: ShiftedQueue) -> None:
    for _ in range(MAX_ATTEMPTS - 1):
        batch = queue.claimed(queue.put("key")) if not queue.stats().items else queue.claim_now()
        queue.settle(batch, Outcome.MAYBE_SENT)
    queue.enqueue(queue.put("key", b"newer"))
    (write,) = queue.claim_now().writes
    assert (write.attempts, body_of(write)) == (1, b"newer")


def test_a_newer_write_makes_a_delayed_name_ready_at_once(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("key", b"old")), Outcome.RETRY, delay=600)
    assert queue.claim(max_wait=0).batches == []
    queue.enqueue(queue.put("key", b"newer"))
    (write,) = queue.claim_now().writes
    assert (write.attempts, write.since, body_of(write)) == (1, START, b"newer")
    assert queue.stats().delayed == 0


def test_a_newer_write_waits_behind_the_one_in_flight(queue: ShiftedQueue) -> None:
    first = queue.claimed(queue.put("key", b"1"))
    queue.advance(5)
    ((seq, coalesced),) = queue.enqueue(queue.put("key", b"2", tenant="b", priority="high"))
    assert not coalesced
    assert queue.claim(max_wait=0).batches == []
    queue.settle(first)
    (write,) = queue.claim_now().writes
    assert (write.seq, body_of(write), write.since, write.attempts) == (seq, b"2", queue.now, 1)
    assert (write.tenant, write.priority) == (b"b", 1)


def test_a_third_write_replaces_the_one_that_waits_behind_the_flight(queue: ShiftedQueue) -> None:
    first = queue.claimed(queue.put("key", b"1"))
    queue.enqueue(queue.put("key", b"2", priority="high"))
    ((_, coalesced),) = queue.enqueue(queue.put("key", b"3", priority="low"))
    queue.settle(first)
    (write,) = queue.claim_now().writes
    assert (coalesced, body_of(write), write.priority) == (True, b"3", 1)


def test_a_sequence_number_is_the_time_in_microseconds(queue: ShiftedQueue) -> None:
    assert queue.enqueue(queue.put("a"), queue.put("b")) == [(START, False), (START + 1, False)]


def test_sequence_numbers_grow_although_the_clock_goes_back(queue: ShiftedQueue) -> None:
    seqs = []
    for seconds in (0, -3600, 0.000_001, -1, 7200):
        queue.advance(seconds)
        seqs += [seq for seq, _ in queue.enqueue(queue.put("same"), queue.put(f"new{seconds}"))]
    assert seqs == sorted(set(seqs))


def test_an_empty_body_and_the_longest_key_are_kept(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("k" * 1024, b"", tenant="t" * 64, bucket="b" * 63))
    (write,) = queue.claim_now().writes
    assert (write.key, body_of(write), write.tenant) == ("k" * 1024, b"", b"t" * 64)


def test_a_delete_waits_and_leaves_like_a_put(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("key", b"body"), queue.delete("key"), queue.delete("other", priority="high"))
    batch = queue.claim_now()
    assert {write.key: write.is_delete for write in batch.writes} == {"key": True, "other": True}
    queue.settle(batch)
    assert queue.stats().items == 0


def test_a_call_that_is_sent_again_gets_the_same_answer_and_counts_once(queue: ShiftedQueue) -> None:
    groups = [[queue.put("a"), queue.put("a")], [queue.put("b")]]
    first = queue.send(groups, number=7)
    queue.advance(1)
    assert queue.send(groups, number=7) == first
    stats = queue.stats()
    assert (stats.items, stats.accepted["normal"], stats.coalesced["normal"]) == (2, 3, 1)


def test_a_call_that_is_sent_again_does_not_bring_back_what_was_stored_since(queue: ShiftedQueue) -> None:
    groups = [[queue.put("key")]]
    first = queue.send(groups, number=7)
    queue.settle(queue.claim_now())
    assert queue.send(groups, number=7) == first
    assert queue.stats().items == 0


def test_a_call_that_arrives_late_cannot_overtake_a_later_one(queue: ShiftedQueue) -> None:
    queue.send([[queue.put("key", b"later")]], number=256)
    (late,) = queue.send([[queue.put("key", b"earlier")]], number=255)
    assert isinstance(late, QueueUnavailable)
    (write,) = queue.claim_now().writes
    assert body_of(write) == b"later"


def test_each_producer_numbers_its_calls_for_itself(queue: ShiftedQueue) -> None:
    queue.send([[queue.put("a")]], producer=b"one", number=9)
    queue.send([[queue.put("b")]], producer=b"two", number=1)
    assert queue.stats().items == 2


def test_the_largest_call_is_taken(queue: ShiftedQueue) -> None:
    writes = [queue.put(f"key-{number:03}", tenant=f"t{number}") for number in range(256)]
    assert len(queue.enqueue(*writes)) == 256
    assert len(queue.enqueue(*[queue.put(f"key-{number:03}", tenant="one") for number in range(256)])) == 256
    assert keys_of(queue.claim_now(max_items=256)) == [f"key-{number:03}" for number in range(256)]


def test_accepted_and_coalesced_writes_are_counted_by_priority(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", priority="low"), queue.put("b"), queue.put("a", priority="high"))
    stats = queue.stats()
    assert stats.accepted == {"critical": 0, "high": 1, "normal": 1, "low": 1}
    assert stats.coalesced == {"critical": 0, "high": 1, "normal": 0, "low": 0}


def test_one_call_may_replace_a_delayed_write_twice(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("key")), Outcome.RETRY, delay=600)
    queue.enqueue(queue.put("key", b"1"), queue.put("key", b"2"))
    (write,) = queue.claim_now().writes
    assert (body_of(write), write.attempts) == (b"2", 1)
