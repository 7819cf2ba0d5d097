"""The queue's limits in items and bytes: exact, atomic, and for each group on its own."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidSetting, PenstockError, QueueFull
from tests.support.queue import LARGE, ShiftedQueue, body_of


def _full(error: PenstockError | object) -> tuple[str, int, int]:
    assert isinstance(error, QueueFull)
    return error.unit, error.limit, error.current


def test_the_last_item_fits_and_the_next_does_not(queue: ShiftedQueue) -> None:
    queue.queue.configure(items=2)
    queue.enqueue(queue.put("a"), queue.put("b"))
    assert _full(queue.refusal(queue.put("c"))) == ("items", 2, 2)
    assert queue.stats().items == 2


def test_the_last_byte_fits_and_the_next_does_not(queue: ShiftedQueue) -> None:
    charge = len(queue.put("a", b"1234").tail)
    queue.queue.configure(size=2 * charge)
    queue.enqueue(queue.put("a", b"1234"))
    assert _full(queue.refusal(queue.put("b", b"12345"))) == ("bytes", 2 * charge, charge)
    queue.enqueue(queue.put("b", b"1234"))
    assert queue.stats().bytes == 2 * charge


def test_a_large_body_counts_with_all_its_bytes(queue: ShiftedQueue) -> None:
    write = queue.put("a", LARGE)
    charge = len(write.tail) + len(LARGE)
    queue.queue.configure(size=charge - 1)
    assert _full(queue.refusal(write)) == ("bytes", charge - 1, 0)
    queue.queue.configure(size=charge)
    queue.enqueue(queue.put("a", LARGE))


def test_a_full_queue_still_takes_what_replaces_a_waiting_write(queue: ShiftedQueue) -> None:
    write = queue.put("a", b"1234")
    queue.queue.configure(items=1, size=len(write.tail))
    queue.enqueue(write)
    queue.enqueue(queue.put("a", b"4321"))
    queue.enqueue(queue.put("a", b"1"))
    assert _full(queue.refusal(queue.put("a", b"12345")))[0] == "bytes"
    assert body_of(queue.claim_now().writes[0]) == b"1"


def test_a_queue_above_a_lowered_limit_takes_what_makes_it_smaller(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", b"long body"), queue.put("b"))
    queue.queue.configure(items=1, size=1)
    queue.enqueue(queue.put("a", b"short"))
    queue.refusal(queue.put("a", b"longer again"))


def test_what_is_in_flight_counts_until_it_is_settled(queue: ShiftedQueue) -> None:
    queue.queue.configure(items=1)
    batch = queue.claimed(queue.put("a"))
    queue.refusal(queue.put("b"))
    queue.settle(batch)
    queue.enqueue(queue.put("b"))


def test_a_refused_group_leaves_nothing_and_its_neighbours_are_accepted(queue: ShiftedQueue) -> None:
    queue.queue.configure(items=3)
    before, refused, after = queue.send(
        [[queue.put("a")], [queue.put("b"), queue.put("c"), queue.put("d")], [queue.put("e"), queue.put("f")]]
    )
    assert not isinstance(before, PenstockError)
    assert not isinstance(after, PenstockError)
    assert _full(refused) == ("items", 3, 1)
    assert [write.key for write in queue.claim_now().writes] == ["a", "e", "f"]


def test_the_writes_of_one_group_to_one_name_count_once(queue: ShiftedQueue) -> None:
    write = queue.put("a", b"1234")
    queue.queue.configure(items=1, size=len(write.tail))
    queue.enqueue(queue.put("a", b"much longer than the limit"), write)
    assert queue.stats().bytes == len(write.tail)


def test_refusals_are_counted_by_reason_and_write(queue: ShiftedQueue) -> None:
    queue.queue.configure(items=1)
    queue.refusal(queue.put("a"), queue.put("b"))
    queue.queue.configure(items=9, size=1)
    queue.refusal(queue.put("a"))
    assert queue.stats().rejected == {"items": 2, "bytes": 1, "body": 0}


def test_limits_that_are_not_given_stay_as_they_are(queue: ShiftedQueue) -> None:
    queue.queue.configure(items=7)
    queue.queue.configure(size=8, dead_size=9)
    limits = queue.stats().limits
    assert (limits.items, limits.bytes, limits.dead_bytes) == (7, 8, 9)


def test_a_limit_below_one_is_refused(queue: ShiftedQueue) -> None:
    with pytest.raises(InvalidSetting):
        queue.queue.configure(items=0)
