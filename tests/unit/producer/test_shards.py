"""Which writes go to which shard, in which calls, and what a producer makes of another number of shards."""

from __future__ import annotations

import time

import pytest

from penstock import QueueUnavailable, Receipt
from penstock.packing import Checked, cost_of, pack
from penstock.queue.enqueue import MAX_CALL_BYTES, MAX_CALL_WRITES, OtherShards, Prepared
from penstock.queue.names import shard_of
from penstock.shards import Detour, Many, ShardCount

LONG = 60.0


def write(size: int = 100, *, name: bytes = b"n", apart: bool = False) -> Checked:
    """One that adds ``size`` bytes to a call, in its record or in a body that goes apart."""
    blob_id = b"id" if apart else None
    rest = cost_of((name, 0, b"", b"", b"", blob_id))
    return name, 0, b"", b"", bytes(size - rest), blob_id


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([100], [1]),
        ([100] * 256, [256]),
        ([100] * 257, [256, 1]),
        ([100] * 600, [256, 256, 88]),
        ([MAX_CALL_BYTES], [1]),
        ([MAX_CALL_BYTES // 4] * 5, [4, 1]),
        ([100, MAX_CALL_BYTES * 2, 100], [1, 1, 1]),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_many_writes_are_cut_in_order_into_chunks_within_the_limits(
    sizes: list[int], expected: list[int], apart: bool
) -> None:
    writes = [write(size, apart=apart) for size in sizes]
    cut = [chunk for shard, _, chunk in Many(writes).chunks(1) if shard == 0]
    assert [len(group) for group in cut] == expected
    assert [one for group in cut for one in group] == [pack(one) for one in writes]
    assert [one.cost for group in cut for one in group] == sizes


def test_a_chunk_is_of_one_shard_and_each_shards_are_in_order() -> None:
    writes = [write(100, name=b"bucket/%d" % (number % 700)) for number in range(2000)]
    sent: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for shard, places, chunk in Many(writes).chunks(3):
        assert [pack(writes[place]) for place in places] == chunk
        assert {shard_of(one.name, 3) for one in chunk} == {shard}
        assert len(chunk) <= MAX_CALL_WRITES
        sent[shard] += places
    assert all(places == sorted(places) for places in sent.values())
    assert sorted(place for places in sent.values() for place in places) == list(range(2000))


def test_receipts_come_in_the_callers_order_and_what_was_accepted_is_not_sent_again() -> None:
    writes = [write(100, name=b"bucket/%d" % number) for number in range(9)]
    many = Many(writes)
    _, places, _ = next(many.chunks(3))
    many.accepted(places, [Receipt(place, False) for place in places])
    error = many.failed(QueueUnavailable("away", maybe_accepted=False))
    assert [receipt.seq for receipt in error.receipts] == sorted(places)
    left = [place for _, places, _ in many.chunks(2) for place in places]  # another number of shards by now
    assert sorted(left + places) == list(range(9))
    many.accepted(left, [Receipt(place, False) for place in left])
    assert [receipt.seq for receipt in many.receipts] == list(range(9))


def test_the_next_chunk_is_packed_and_receipts_are_made_meanwhile_and_nothing_comes_twice_or_not_at_all() -> None:
    writes = [write(name=b"bucket/%d" % number) for number in range(600)]
    many = Many(writes)
    sent: list[int] = []
    for _, places, chunk in many.chunks(1):
        for _ in range(2):  # a call that is sent again
            many.meanwhile()
        sent += places
        many.told(places, chunk, [(place + 1, False) for place in places])
    assert sent == list(range(600))
    assert [(one.seq, one.key) for one in many.receipts] == [(number + 1, f"{number}") for number in range(600)]


def test_a_body_larger_than_a_call_is_not_hashed_while_another_calls_time_limit_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed: list[int] = []

    def noted(one: Checked) -> Prepared:
        packed.append(cost_of(one))
        return pack(one)

    monkeypatch.setattr("penstock.shards.pack", noted)
    many = Many([write(100), write(MAX_CALL_BYTES * 2), write(200)])
    chunks = many.chunks(1)
    done = []
    for _ in range(3):
        next(chunks)
        done.append(list(packed))
        many.meanwhile()
    assert done == [[100], [100, MAX_CALL_BYTES * 2], [100, MAX_CALL_BYTES * 2, 200]]
    assert next(chunks, None) is None


def test_what_was_packed_for_another_number_of_shards_is_cut_anew() -> None:
    writes = [write(name=b"bucket/%d" % number) for number in range(600)]
    many = Many(writes)
    chunks = many.chunks(1)
    _, first, chunk = next(chunks)
    many.meanwhile()
    many.told(first, chunk, [(1, False)] * len(first))
    next(chunks)
    many.meanwhile()
    left = [(shard, writes[place][0]) for shard, places, _ in many.chunks(3) for place in places]
    assert sorted(name for _, name in left) == sorted(one[0] for one in writes[len(first) :])
    assert all(shard == shard_of(name, 3) for shard, name in left)


def test_a_producer_goes_at_once_where_the_queue_sends_it_and_then_with_pauses() -> None:
    known = ShardCount()
    detour = Detour(known, time.monotonic() + LONG)
    assert detour.after(OtherShards(3), made_for=1) == 0.0
    assert known.shards == 3
    detour.after(OtherShards(1), made_for=3)  # shards that do not agree: no tight loop, see below
    assert known.shards == 1


def test_while_the_number_is_changed_shard_0_is_asked_until_the_time_is_up() -> None:
    known = ShardCount(3)
    error = OtherShards(0)
    pauses = [Detour(known, time.monotonic() + LONG).after(error, made_for=3) for _ in range(20)]
    assert known.shards == 1
    assert any(pauses)
    assert all(pause <= 0.2 for pause in pauses)
    with pytest.raises(OtherShards) as caught:
        Detour(known, time.monotonic()).after(error, made_for=1)
    assert isinstance(caught.value, QueueUnavailable)
    assert not caught.value.maybe_accepted
