"""Where the shards of a queue lie, and which name goes to which."""

from __future__ import annotations

from collections import Counter

import pytest
from redis.crc import key_slot

from penstock.queue.names import MAX_SHARDS, key_prefix, shard_of
from penstock.queue.sharded import part_of

SLOTS = 16384


def _slot(prefix: str) -> int:
    slots = {key_slot((prefix + key).encode()) for key in ("meta", "lane:0:bucket/{x}", "blob:1")}
    (slot,) = slots  # one for all keys of a shard
    return slot


@pytest.mark.parametrize("queue", ["default", "reports.eu-1", "Q", "x" * 64])
@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8, MAX_SHARDS])
def test_shards_lie_evenly_on_the_ring_of_slots_from_the_first_one_on(queue: str, shards: int) -> None:
    first = _slot(key_prefix(queue))
    assert key_prefix(queue, 0, shards) == f"penstock:{{{queue}:0}}:"
    for shard in range(shards):
        off = (_slot(key_prefix(queue, shard, shards)) - first - shard * SLOTS / shards + SLOTS / 2) % SLOTS - SLOTS / 2
        assert abs(off) <= SLOTS / 1000


def test_shards_of_different_numbers_share_nothing_but_the_first() -> None:
    prefixes = [key_prefix("default", shard, shards) for shards in range(1, 9) for shard in range(1, shards)]
    assert len(set(prefixes)) == len(prefixes)


def test_a_name_goes_to_the_same_shard_for_ever() -> None:
    """Fixed: another version that sends a name elsewhere would break the order of its writes."""
    names = [b"bucket/a", b"bucket/reports/42.json", "bucket/ü".encode(), b"other/a"]
    assert [shard_of(name, 3) for name in names] == [1, 0, 2, 2]
    assert [shard_of(name, 16) for name in names] == [5, 10, 8, 5]


@pytest.mark.parametrize("shards", [2, 3, 7, 16])
@pytest.mark.parametrize("pattern", ["bucket/reports/%d.json", "bucket/%08d", "bucket/user-%d/2026/11/22/state"])
def test_names_that_hardly_differ_are_spread_evenly(shards: int, pattern: str) -> None:
    counts = Counter(shard_of((pattern % number).encode(), shards) for number in range(20_000))
    assert len(counts) == shards
    assert max(counts.values()) < 1.1 * 20_000 / shards


def test_the_parts_of_a_limit_are_the_limit() -> None:
    assert [part_of(10, shard, 3) for shard in range(3)] == [4, 3, 3]
    for total in (1, 5, 1_000_000, 2**50):
        parts = [part_of(total, shard, 7) for shard in range(7)]
        assert sum(parts) == total
        assert max(parts) - min(parts) <= 1
