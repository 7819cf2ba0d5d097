"""One producer for many threads, and for the children of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from penstock import Producer, QueueFull
from penstock.values import Receipt
from penstock_worker.demo.servers import RedisServer
from tests.support.fork import in_child, wait_for
from tests.support.producers import BUCKET, HANG, Seen
from tests.support.proxy import Mode, Proxy
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

THREADS = 16
PUTS = 60


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None) -> Iterator[RedisServer]:
    """Its commands are counted, so nobody else may use it."""
    with RedisServer(tmp_path_factory.mktemp("redis"), executable=redis_executable) as server:
        yield server


@pytest.fixture
def seen(own_server: RedisServer, queue_name: str) -> Iterator[Seen]:
    seen = Seen(own_server.url, queue_name)
    yield seen
    seen.close()


@pytest.fixture
def producer(own_server: RedisServer, queue_name: str) -> Iterator[Producer]:
    with Producer(own_server.url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
        yield producer


def test_threads_share_one_producer_and_its_round_trips(producer: Producer, seen: Seen) -> None:
    producer.put("first", b"")
    before = seen.script_calls()
    start = threading.Barrier(THREADS)

    def caller(name: int) -> list[Receipt]:
        start.wait(HANG)
        return [producer.put(f"key/{name}/{number}", b"%d" % number) for number in range(PUTS)]

    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(caller, range(THREADS), timeout=HANG))
    calls = seen.script_calls() - before
    seqs = [receipt.seq for receipts in results for receipt in receipts]
    assert len(set(seqs)) == THREADS * PUTS
    assert all([one.seq for one in receipts] == sorted(one.seq for one in receipts) for receipts in results)
    assert len(seen.records()) == THREADS * PUTS + 1
    assert calls < THREADS * PUTS / 2, "callers hardly shared any round trip"


def test_one_callers_full_queue_does_not_fail_the_callers_beside_it(own_server: RedisServer, queue_name: str) -> None:
    seen = Seen(own_server.url, queue_name)
    with (
        Proxy(own_server.port) as proxy,
        Producer(proxy.url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer,
    ):
        producer.put("small/0", bytes(10))
        seen.limit(size=5000)
        with ThreadPoolExecutor(THREADS) as threads:
            proxy.mode = Mode.STALL  # the first call waits, and the others gather behind it
            first = threads.submit(producer.put, "small/1", bytes(10))
            wait_until(lambda: producer._shards._first._leader is not None, HANG, "the first call to be on its way")
            big = [threads.submit(producer.put, f"big/{number}", bytes(10_000)) for number in range(3)]
            small = [threads.submit(producer.put, f"small/{number}", bytes(10)) for number in range(2, 6)]
            wait_until(lambda: len(producer._shards._first._gathered._waiting) == 7, HANG, "all to wait")
            proxy.mode = Mode.PASS
            proxy.reset_all()
            assert all(isinstance(one.exception(HANG), QueueFull) for one in big)
            assert all(one.exception(HANG) is None for one in (first, *small))
    assert sorted(seen.records()) == [f"{BUCKET}/small/{number}" for number in range(6)]
    seen.close()


def test_a_child_and_its_parent_both_put_after_a_fork(producer: Producer, seen: Seen) -> None:
    parents = [producer.put("parent/0", b"")]
    child = in_child(lambda: [producer.put(f"child/{number}", b"") for number in range(50)])
    parents += [producer.put(f"parent/{number}", b"") for number in range(1, 50)]
    wait_for(child)
    parents.append(producer.put("parent/50", b""))
    assert len({receipt.seq for receipt in parents}) == 51
    assert len(seen.records()) == 101
    assert seen.accepted() == 101  # no call number of the one was taken for the other's


def test_prefork_workers_share_what_was_made_before_the_fork(producer: Producer, seen: Seen) -> None:
    def work(name: int) -> None:
        for number in range(25):
            producer.put(f"{name}/{number}", b"")

    wait_for(*[in_child(partial(work, name)) for name in range(4)])
    assert seen.accepted() == len(seen.records()) == 100


def test_a_fork_in_the_middle_of_another_threads_put_hurts_neither(own_server: RedisServer, queue_name: str) -> None:
    seen = Seen(own_server.url, queue_name)
    with Proxy(own_server.port) as proxy, ThreadPoolExecutor(2) as threads:
        producer = Producer(proxy.url, bucket=BUCKET, queue=queue_name, timeout=HANG)
        producer.put("key/0", b"")
        proxy.mode = Mode.STALL
        running = threads.submit(producer.put, "key/1", b"")
        wait_until(lambda: b"key/1" in proxy.seen, HANG, "the put to be on its way")
        proxy.mode = Mode.PASS  # for new connections; what was swallowed stays lost, and its call in the middle
        child = in_child(lambda: producer.put("child", b""))
        wait_for(child)
        assert not running.done()
        proxy.reset_all()
        running.result(HANG)
        producer.close()
    assert sorted(seen.records()) == [f"{BUCKET}/{key}" for key in ("child", "key/0", "key/1")]
    assert seen.accepted() == 3
    seen.close()


def test_a_producer_closed_before_the_fork_stays_closed(producer: Producer) -> None:
    producer.close()

    def work() -> None:
        with pytest.raises(Exception, match="closed"):
            producer.put("key", b"")

    wait_for(in_child(work))
