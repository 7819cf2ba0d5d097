"""What only the asyncio producer has: tasks, cancellation, event loops."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager

import pytest

from penstock import AsyncProducer, QueueFull, QueueMismatch, QueueUnavailable
from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, Seen
from tests.support.proxy import Mode, Proxy

pytestmark = pytest.mark.integration


@pytest.fixture
def seen(redis_url: str, queue_name: str) -> Iterator[Seen]:
    seen = Seen(redis_url, queue_name)
    yield seen
    seen.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


def producer_at(url: str, queue: str, timeout: float = HANG) -> AsyncProducer:
    return AsyncProducer(url, bucket=BUCKET, queue=queue, timeout=timeout)


@asynccontextmanager
async def stalled(proxy: Proxy, producer: AsyncProducer) -> AsyncIterator[None]:
    """What is put inside gathers behind a call that hangs; on leaving, that call is sent again and all go on."""
    proxy.mode = Mode.STALL
    call = asyncio.create_task(producer.put("stalled", b""))
    while b"stalled" not in proxy.seen:
        await asyncio.sleep(0.001)
    yield
    proxy.mode = Mode.PASS
    proxy.reset_all()
    await call


async def gathered(producer: AsyncProducer, count: int) -> None:
    while len(producer._shards._first._gathered._waiting) < count:
        await asyncio.sleep(0.001)


def run(work: Awaitable[None]) -> None:
    """In a new event loop, within bounds."""

    async def bounded() -> None:
        async with asyncio.timeout(2 * HANG):
            await work

    asyncio.run(bounded())


def test_a_hundred_tasks_share_one_producer_and_its_round_trips(proxy: Proxy, queue_name: str, seen: Seen) -> None:
    async def work() -> None:
        async with producer_at(proxy.url, queue_name) as producer:
            await producer.put("first", b"")
            before = proxy.seen.count(b"EVALSHA")
            receipts = await asyncio.gather(*(producer.put(f"key/{number}", b"") for number in range(100)))
            assert len({receipt.seq for receipt in receipts}) == 100
            assert [receipt.seq for receipt in receipts] == sorted(receipt.seq for receipt in receipts)
            assert proxy.seen.count(b"EVALSHA") - before <= 2

    run(work())
    assert len(seen.records()) == 101


def test_one_tasks_refusal_is_no_neighbours(proxy: Proxy, queue_name: str, seen: Seen) -> None:
    async def work() -> None:
        async with producer_at(proxy.url, queue_name) as producer:
            await producer.put("first", b"")
            seen.limit(size=3000)
            puts = (producer.put(f"key/{number}", bytes(10_000 if number % 2 else 10)) for number in range(10))
            results = await asyncio.gather(*puts, return_exceptions=True)
            assert [isinstance(result, QueueFull) for result in results] == [bool(number % 2) for number in range(10)]
            errors = [result for result in results if isinstance(result, QueueFull)]
            assert len({id(error) for error in errors}) == 5

    run(work())


def test_a_failure_that_is_shared_is_raised_as_an_error_of_each_tasks_own(
    redis_url: str, queue_name: str, seen: Seen
) -> None:
    async def work() -> None:
        async with producer_at(redis_url, queue_name) as producer:
            await producer.put("first", b"")
            (meta,) = seen.keys("meta")
            seen.client.hset(meta, "layout", "999")
            results = await asyncio.gather(*(producer.put("key", b"") for _ in range(3)), return_exceptions=True)
            assert all(isinstance(result, QueueMismatch) for result in results)
            assert len({id(result) for result in results}) == 3

    run(work())


def test_a_cancelled_put_leaves_the_others_alone(proxy: Proxy, queue_name: str, seen: Seen) -> None:
    async def work() -> None:
        async with producer_at(proxy.url, queue_name) as producer:
            await producer.put("first", b"")
            async with stalled(proxy, producer):
                puts = [asyncio.create_task(producer.put(f"key/{number}", b"")) for number in range(3)]
                await gathered(producer, 3)
                puts[1].cancel()
            assert (await puts[0]).seq < (await puts[2]).seq
            with pytest.raises(asyncio.CancelledError):
                await puts[1]

    run(work())
    keys = ("first", "stalled", "key/0", "key/2")
    assert sorted(seen.records()) == sorted(f"{BUCKET}/{key}" for key in keys)  # cancelled before it was sent


def test_cancelling_the_put_that_is_on_its_way_does_not_tear_its_call_apart(
    proxy: Proxy, queue_name: str, seen: Seen
) -> None:
    async def work() -> None:
        async with producer_at(proxy.url, queue_name) as producer:
            await producer.put("first", b"")
            proxy.mode = Mode.STALL
            together = [asyncio.create_task(producer.put(f"key/{number}", b"")) for number in range(3)]
            while b"key/2" not in proxy.seen:
                await asyncio.sleep(0.001)
            together[0].cancel()
            proxy.mode = Mode.PASS
            proxy.reset_all()
            assert (await together[1]).seq < (await together[2]).seq

    run(work())
    assert seen.accepted() == 4  # the cancelled one as well: it had been sent


def test_a_caller_whose_time_is_up_before_its_turn_is_never_sent(proxy: Proxy, queue_name: str, seen: Seen) -> None:
    async def work() -> None:
        async with producer_at(proxy.url, queue_name, timeout=1.0) as producer:
            await producer.put("first", b"")
            proxy.mode = Mode.STALL
            on_its_way = asyncio.create_task(producer.put("a", b""))
            while b"my-bucket/a" not in proxy.seen:
                await asyncio.sleep(0.001)
            waits = asyncio.create_task(producer.put("b", b""))
            results = await asyncio.gather(on_its_way, waits, return_exceptions=True)
            maybe = [result.maybe_accepted for result in results if isinstance(result, QueueUnavailable)]
            assert maybe == [True, False]

    run(work())
    assert f"{BUCKET}/b" not in seen.records()


def test_one_producer_serves_one_event_loop_after_another(redis_url: str, queue_name: str, seen: Seen) -> None:
    producer = producer_at(redis_url, queue_name)

    async def work(key: str) -> None:
        await producer.put(key, b"")

    with warnings.catch_warnings():
        # Nobody closed the connection before its loop ended, and Python says so.
        warnings.simplefilter("ignore", ResourceWarning)
        for number in range(3):
            run(work(f"key/{number}"))
        run(producer.close())
    assert len(seen.records()) == 3


def test_a_second_event_loop_at_the_same_time_is_refused(redis_url: str, queue_name: str) -> None:
    async def work() -> None:
        async with producer_at(redis_url, queue_name) as producer:
            await producer.put("key", b"")

            async def elsewhere() -> None:
                await producer.put("key", b"")

            with pytest.raises(RuntimeError, match="one event loop at a time"):
                await asyncio.to_thread(asyncio.run, elsewhere())
            await producer.put("key", b"")

    run(work())


def test_a_loop_that_ends_in_the_middle_leaves_a_producer_that_works(proxy: Proxy, queue_name: str, seen: Seen) -> None:
    producer = producer_at(proxy.url, queue_name)

    async def abandon() -> None:
        await producer.put("first", b"")
        proxy.mode = Mode.STALL
        for number in range(3):
            asyncio.get_running_loop().create_task(producer.put(f"lost/{number}", b"")).add_done_callback(forget)
        while b"lost" not in proxy.seen:
            await asyncio.sleep(0.001)

    def forget(task: asyncio.Task[object]) -> None:
        if not task.cancelled():
            task.exception()

    async def again() -> None:
        await producer.put("again", b"")
        await producer.close()

    run(abandon())
    proxy.mode = Mode.PASS
    run(again())
    assert f"{BUCKET}/again" in seen.records()


def test_close_waits_for_the_calls_that_run(proxy: Proxy, queue_name: str, seen: Seen) -> None:
    async def work() -> None:
        producer = producer_at(proxy.url, queue_name)
        await producer.put("first", b"")
        async with stalled(proxy, producer):
            put = asyncio.create_task(producer.put("key", b""))
            await gathered(producer, 1)
            closing = asyncio.create_task(producer.close())
            await asyncio.sleep(0)
            with pytest.raises(QueueUnavailable, match="closed"):
                await producer.put("late", b"")
            assert not closing.done()
        await closing
        assert (await put).seq > 0

    run(work())
    assert sorted(seen.records()) == sorted(f"{BUCKET}/{key}" for key in ("first", "stalled", "key"))


def test_a_child_with_a_loop_of_its_own_leaves_the_parents_connection_alone(
    proxy: Proxy, queue_name: str, seen: Seen
) -> None:
    """The child shares the parent's epoll set: it must not take the parent's connection out of it."""

    async def work() -> None:
        async with producer_at(proxy.url, queue_name) as producer:
            await producer.put("parent/0", b"")
            sent, connections = proxy.seen.count(b"EVALSHA"), proxy.connections
            pid = os.fork()
            if pid == 0:
                child(producer)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            assert status == 0
            await producer.put("parent/1", b"")
            # Sent once, on the connection it had: were it not told of the answer, it would be sent again on a new one.
            assert proxy.seen.count(b"EVALSHA") - sent == 4
            assert proxy.connections == connections + 1

    def child(producer: AsyncProducer) -> None:
        status = 1
        try:
            signal.alarm(int(HANG))
            run(put_three(producer))
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)

    async def put_three(producer: AsyncProducer) -> None:
        for number in range(3):
            await producer.put(f"child/{number}", b"")

    run(work())
    assert seen.accepted() == 5
