"""The number of shards is changed while servers fail over, or right after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
import redis

from penstock import InvalidSetting, PenstockError, Producer
from penstock.calls import Options
from penstock.queue import reshard as module
from penstock.queue.client import Queue
from penstock.queue.reshard import reshard
from penstock.queue.sharded import ShardedQueue
from penstock.sync_shards import Shards
from penstock.write import prepare_delete
from tests.support.shards import end_all, sharded

BUCKET = "the-bucket"
SHARDS = 3
HANG = 30.0
"""Seconds after which something hangs."""
KEYS = ("a", "b", "c", "d", "e", "f", "g", "h", "i")


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[ShardedQueue]:
    with sharded(redis_url, queue_name, SHARDS) as found:
        yield found


@pytest.mark.parametrize("lost", range(SHARDS))
def test_a_shard_that_forgot_that_it_was_closed_keeps_the_number_as_it_was(
    lost: int, redis_url: str, queue: ShardedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its replica took over and did not know of it yet, so that producers still put into it."""
    shard = queue.shards[lost]
    whole, whole_open, opened = module._prepare, module._open, list[str]()
    options = Options.make(redis_url, queue.name, BUCKET, HANG, 1024, None, "memory")
    key = next(key for key in KEYS if queue.of(BUCKET, key) is shard)

    def fail_over(*args: Any) -> None:
        whole(*args)
        shard.client.hset(shard.prefix + "meta", "shards", SHARDS)
        shard.client.hdel(shard.prefix + "meta", "shards_was", "shards_by")
        with closing(Shards(options, SHARDS)) as producer:
            producer.accept(prepare_delete(key, BUCKET, "normal", "", None))

    def note(one: Queue, *args: Any) -> None:
        opened.append(one.prefix)
        whole_open(one, *args)

    monkeypatch.setattr(module, "_prepare", fail_over)
    monkeypatch.setattr(module, "_open", note)
    with pytest.raises(PenstockError, match="shards"):
        reshard(queue, 2)
    assert lost == 0 or queue.shards[0].prefix not in opened, "nothing is accepted with the new number before"
    queue.refresh()
    assert [each.stats().shards for each in queue.shards] == [SHARDS] * SHARDS
    with Producer(redis_url, queue=queue.name, bucket=BUCKET) as producer:
        for other in KEYS:
            producer.put(other, b"")
    assert queue.stats().items == len(KEYS)


@pytest.mark.parametrize("lost", range(SHARDS))
def test_an_answer_that_is_lost_while_shards_are_opened_leaves_no_two_numbers_open(
    lost: int, queue: ShardedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    every, limits, whole_open = queue.shards, queue.stats().limits, module._open
    end_all(queue)
    every[1].client.hset(every[1].prefix + "meta", "epoch_of", "another")

    def lose(one: Queue, *args: Any) -> None:
        whole_open(one, *args)
        if one.prefix == every[lost].prefix:
            raise redis.exceptions.ConnectionError("lost")

    monkeypatch.setattr(module, "_open", lose)
    with pytest.raises(redis.exceptions.ConnectionError):
        reshard(queue, 2)
    told = [one.stats().shards for one in every]
    assert told == ([2, 2, 2] if lost == 0 else [SHARDS] * SHARDS)
    monkeypatch.undo()
    reshard(queue, 2)
    assert [one.stats().shards for one in queue.shards] == [2, 2]
    assert queue.stats().limits == limits
    assert len(set(meta(queue, "epoch_seq"))) == 1
    assert None not in meta(queue, "epoch_seq")


def meta(queue: ShardedQueue, field: str) -> list[int | None]:
    found = [cast("bytes | None", one.client.hget(one.prefix + "meta", field)) for one in queue.shards]
    return [None if value is None else int(value) for value in found]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_epoch_one_that_goes_on_does_so_in_all_shards(count: int, queue: ShardedQueue) -> None:
    """A request of a claim that was lost may still land, whichever shard has its name by now."""
    shard = queue.shards[2]
    key = next(key for key in KEYS if queue.of(BUCKET, key) is shard)
    shard.client.hset(shard.prefix + "meta", "epoch_of", "another")
    end_all(queue)
    until, numbers = meta(queue, "epoch_until")[2], meta(queue, "epoch_seq")[2]
    assert until is not None
    assert reshard(queue, count)
    assert meta(queue, "epoch_until") == [until] * count
    assert meta(queue, "epoch_seq") == [numbers] * count
    assert queue.of(BUCKET, key).stats().epoch_left > 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_epoch_a_loss_that_no_claim_has_met_yet_is_met_by_all_shards(count: int, queue: ShardedQueue) -> None:
    end_all(queue)
    shard = queue.shards[1]
    shard.client.hset(shard.prefix + "meta", "epoch_of", "another")
    assert reshard(queue, count)
    assert meta(queue, "epoch_until") == [None] * count
    end_all(queue)
    assert all(left > 0 for left in [one.stats().epoch_left for one in queue.shards])


def test_epoch_none_begins_because_a_number_of_shards_was_had_before(queue: ShardedQueue) -> None:
    end_all(queue)
    for one in queue.shards[1:]:
        one.client.hset(one.prefix + "meta", "epoch_of", "a server of long ago")
    old = queue.shards[1:]
    reshard(queue, 1)
    first = queue.shards[0]
    first.client.hdel(first.prefix + "meta", "epoch_seq", "epoch_at")
    for one in old:
        one.client.hset(one.prefix + "meta", "epoch_of", "a server of long ago")
    reshard(queue, SHARDS)
    end_all(queue)
    assert [one.stats().epoch_left for one in queue.shards] == [0] * SHARDS


def test_a_limit_that_leaves_nothing_to_a_shard_is_refused_and_changes_nothing(queue: ShardedQueue) -> None:
    queue.configure(items=SHARDS)
    with pytest.raises(InvalidSetting, match="at least 1"):
        reshard(queue, SHARDS + 1)
    queue.refresh()
    assert [one.stats().shards for one in queue.shards] == [SHARDS] * SHARDS
