"""Producers of a queue with several shards, and one whose number of shards is changed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from penstock import QueueFull, QueueUnavailable, Write
from penstock.queue.client import Queue
from penstock.queue.names import shard_of
from penstock.queue.record import LARGE_BODY, decode
from penstock.queue.reshard import reshard
from penstock.queue.sharded import ShardedQueue
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer
from tests.support.shards import end_all, sharded
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

SHARDS = 3


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[ShardedQueue]:
    with sharded(redis_url, queue_name, SHARDS) as queue:
        yield queue


@pytest.fixture(params=KINDS, ids=["threads", "asyncio"])
def producer(request: pytest.FixtureRequest, redis_url: str, queue_name: str) -> Iterator[AnyProducer]:
    made: AnyProducer = request.param(redis_url, bucket=BUCKET, queue=queue_name, timeout=10)
    with made:
        yield made


def records(shard: Queue) -> dict[bytes, bytes]:
    """What waits, by its name."""
    return cast("dict[bytes, bytes]", shard.client.hgetall(shard.prefix + "write"))


def held(queue: ShardedQueue) -> list[dict[str, int]]:
    """Of each shard, the keys that wait there with their sequence numbers."""
    return [
        {name.decode().removeprefix(f"{BUCKET}/"): decode(data).seq for name, data in records(shard).items()}
        for shard in queue.shards
    ]


def expected(keys: list[str]) -> list[set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for key in keys:
        found[shard_of(f"{BUCKET}/{key}".encode(), SHARDS)].add(key)
    return [found[shard] for shard in range(SHARDS)]


def test_every_write_goes_to_the_shard_of_its_name(queue: ShardedQueue, producer: AnyProducer) -> None:
    keys = [f"reports/{number}.json" for number in range(60)]
    seqs = {key: producer.put(key, b"1").seq for key in keys[:30]}
    seqs |= {
        receipt.key: receipt.seq for receipt in producer.put_many([Write(key=key, body=b"1") for key in keys[30:]])
    }
    found = held(queue)
    assert [set(one) for one in found] == expected(keys)
    assert {key: seq for one in found for key, seq in one.items()} == seqs
    producer.delete(keys[0])
    assert sum(shard.stats().items for shard in queue.shards) == 60


def test_a_queue_with_one_shard_costs_no_further_round_trip(
    redis_url: str, queue_name: str, producer: AnyProducer
) -> None:
    with sharded(redis_url, queue_name, 1) as queue:
        client = queue.shards[0].client
        producer.put("warm", b"")

        def calls() -> int:
            return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])

        before = calls()
        for number in range(20):
            producer.put(str(number), b"")
        assert calls() - before == 20


def test_receipts_of_many_come_in_the_order_of_the_writes_and_keys_keep_theirs(
    queue: ShardedQueue, producer: AnyProducer
) -> None:
    keys = [f"k/{number % 150}" for number in range(700)]
    receipts = producer.put_many([Write(key=key, body=b"%d" % at) for at, key in enumerate(keys)])
    assert [receipt.key for receipt in receipts] == keys
    newest: dict[str, int] = {}
    for receipt in receipts:
        assert receipt.seq > newest.get(receipt.key, 0), "a later write of a key got an older number"
        newest[receipt.key] = receipt.seq
    assert {key: seq for one in held(queue) for key, seq in one.items()} == newest
    bodies = {name: decode(data).body for shard in queue.shards for name, data in records(shard).items()}
    for key in newest:
        last = max(at for at, one in enumerate(keys) if one == key)
        assert bytes(bodies[f"{BUCKET}/{key}".encode()] or b"") == b"%d" % last


def test_a_full_shard_refuses_its_chunk_and_the_error_says_what_was_accepted(
    queue: ShardedQueue, producer: AnyProducer
) -> None:
    queue.configure(items=3 * SHARDS)
    keys = [f"key-{number}" for number in range(60)]
    of_first = [key for key in keys if shard_of(f"{BUCKET}/{key}".encode(), SHARDS) == 0]
    others = [key for key in keys if key not in of_first][:2]
    producer.put(of_first[0], b"")
    with pytest.raises(QueueFull) as caught:
        producer.put_many([Write(key=key, body=b"") for key in [*others, *of_first[1:5]]])
    assert caught.value.limit == 3
    accepted = {receipt.key for receipt in caught.value.receipts}
    found = held(queue)
    assert accepted == {key for one in found for key in one} - {of_first[0]}
    assert set(found[0]) == {of_first[0]}, "a chunk is all or none"


def test_a_large_body_goes_to_the_shard_of_its_name_and_none_is_left_elsewhere(
    queue: ShardedQueue, producer: AnyProducer
) -> None:
    key = next(key for key in map(str, range(99)) if shard_of(f"{BUCKET}/{key}".encode(), SHARDS) == 2)
    producer.put(key, b"x" * LARGE_BODY)  # the first call asks shard 0, with the body
    blobs = [shard.client.keys(shard.prefix.replace("{", "[{]") + "blob:*") for shard in queue.shards]
    assert [len(found) for found in blobs] == [0, 0, 1]


def test_waiting_for_a_write_asks_its_shard(
    redis_url: str, queue_name: str, queue: ShardedQueue, producer: AnyProducer, request: pytest.FixtureRequest
) -> None:
    receipts = producer.put_many([Write(key=f"k/{number}", body=b"") for number in range(9)])
    end_all(queue)
    assert {producer.wait(receipt, 0).outcome for receipt in receipts} == {"stored"}
    with type(producer)(redis_url, bucket=BUCKET, queue=queue_name) as other:  # knows nothing of the queue yet
        assert {other.wait(receipt, 0).outcome for receipt in receipts} == {"stored"}


def test_producers_follow_a_queue_that_gets_another_number_of_shards(
    redis_url: str, queue_name: str, producer: AnyProducer
) -> None:
    with sharded(redis_url, queue_name, 1) as queue:
        last = 0
        for count in (3, 2, 3, 1, 4):
            receipts = [producer.put(f"k/{number}", b"") for number in range(8)]
            receipts += producer.put_many([Write(key=f"many/{number}", body=b"") for number in range(8)])
            assert min(receipt.seq for receipt in receipts) > last, "numbers grow, whatever the shards"
            assert sum(len(one) for one in held(queue)) == 16
            end_all(queue)
            # As on a server whose clock is ahead of the others.
            shard = queue.shards[-1]
            last = shard.counters({"last": 3600 * 10**6})["last"]
            assert reshard(queue, count)
            assert len(queue.shards) == count


def test_an_epoch_of_one_shard_holds_in_all_after_the_number_changed(queue: ShardedQueue) -> None:
    """A write that was lost with one shard's server may be of a name that is in another shard now."""
    first, second = queue.shards[:2]
    for shard, seq in ((first, 5), (second, 7)):
        shard.set_meta({"epoch_seq": seq, "epoch_at": seq, "epoch_until": 10 * seq})
    reshard(queue, 2)
    names = ["epoch_seq", "epoch_at", "epoch_until"]
    for shard in queue.shards:
        assert shard.client.hmget(shard.prefix + "meta", names) == [b"7", b"7", b"70"]


def test_while_the_number_is_changed_a_call_waits_and_fails_only_when_its_time_is_up(
    redis_url: str, queue_name: str, queue: ShardedQueue
) -> None:
    first = queue.shards[0]
    for kind in KINDS:
        with kind(redis_url, bucket=BUCKET, queue=queue_name, timeout=0.5) as producer:
            producer.put("known", b"")
            for shard in queue.shards:
                shard.run("reshard", "me", SHARDS)
            with pytest.raises(QueueUnavailable, match="number of shards") as caught:
                producer.put("refused", b"")
            assert not caught.value.maybe_accepted
            with pytest.raises(QueueUnavailable, match="number of shards"):
                producer.put_many([Write(key="refused", body=b"")])
            queue.refresh()
            assert len(queue.shards) == SHARDS, "until it has another number, it has this one"
            assert first.stats().shards == 0
            for shard in queue.shards:
                assert shard.run("reshard", "another", "", 2, 9, 9, 9, 0) == 0, "not his to open"
                assert shard.run("reshard", "me", "", SHARDS, 10**6, 2**30, 2**28, 0) == 1
            producer.put("accepted", b"")
    assert sum(len(one) for one in held(queue)) == 2


def test_nothing_is_accepted_by_a_number_of_shards_that_is_no_more(
    redis_url: str, queue_name: str, queue: ShardedQueue
) -> None:
    """Many threads put while the number changes: each write that was accepted is where the queue looks for it."""
    stop = threading.Event()
    accepted: dict[str, int] = {}

    def load(number: int) -> None:
        with KINDS[0](redis_url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
            at = 0
            while not stop.is_set():
                key = f"{number}/{at}"
                accepted[key] = producer.put(key, b"").seq
                at += 1

    with ThreadPoolExecutor(5) as threads:
        loads = [threads.submit(load, number) for number in range(4)]
        try:
            wait_until(lambda: len(accepted) > 50, HANG, "the load to run")
            for count in (2, 3, 1, 3):
                change = threads.submit(reshard, queue, count, wait=HANG)
                while not change.done():
                    end_all(queue)
                assert change.result()
                goal = len(accepted) + 50
                wait_until(lambda goal=goal: len(accepted) > goal, HANG, "the load to go on")  # type: ignore[misc]
        finally:
            stop.set()
        for one in loads:
            one.result(HANG)
    end_all(queue)
    assert sum(queue.stats().accepted.values()) == len(accepted)
    assert queue.stats().unfinished == 0
