"""Waiting for an accepted write, with either producer, on a real Redis."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from penstock import (
    AsyncProducer,
    InvalidSetting,
    Producer,
    QueueMismatch,
    QueueUnavailable,
    Receipt,
    WaitTimeout,
    Write,
)
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.results import Failure, Outcome, Settlement
from penstock_worker.demo.servers import RedisServer
from tests.support.fork import in_child, wait_for
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer
from tests.support.proxy import Mode, Proxy
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

SHORT = 0.2
"""A time limit that is meant to be over."""
REFUSED = Failure("permanent", "InvalidTag", 400, "the tag is not valid")


class Worker:
    """Claims all that is there and ends it in one way; by hand, or on a thread until the test ends."""

    def __init__(self, url: str, queue: str) -> None:
        self._client = open_client(url, HANG)
        self.queue = Queue(self._client, queue)
        self._claims = 0

    def work(self, outcome: Outcome = Outcome.STORED) -> int:
        """Returns how many writes it ended."""
        self._claims += 1
        token = f"token-{self._claims}"
        reply = self.queue.claim(
            [token], lease=HANG, max_items=1000, max_bytes=2**30, max_wait=0, budget=2**30, holds_none=True
        )
        for batch in reply.batches:
            failure = REFUSED if outcome is Outcome.DEAD else None
            ends = [Settlement(write.name, outcome, failure=failure) for write in batch.writes]
            self.queue.settle(token, ends, max_attempts=3)
        return sum(len(batch.writes) for batch in reply.batches)

    @contextmanager
    def running(self) -> Iterator[None]:
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(0.001):
                self.work()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(HANG)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def worker(redis_url: str, queue_name: str) -> Iterator[Worker]:
    one = Worker(redis_url, queue_name)
    yield one
    one.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(params=KINDS, ids=["threads", "asyncio"])
def producer(request: pytest.FixtureRequest, proxy: Proxy, queue_name: str) -> Iterator[AnyProducer]:
    with request.param(proxy.url, bucket=BUCKET, queue=queue_name, timeout=HANG) as made:
        yield made


def in_time(call: Any, *args: Any) -> Any:
    """The outcome of a call that must keep its short time limit."""
    began = time.monotonic()
    try:
        return call(*args)
    finally:
        assert time.monotonic() - began < HANG / 2, "the time limit does not hold"


def test_a_receipt_knows_its_name(producer: AnyProducer) -> None:
    receipts = [producer.put("ü/a", b"", bucket="other-bucket"), producer.delete("b")]
    receipts += producer.put_many([Write(key="c", body=b""), Write(key="d", body=bytes(100_000))])
    assert [(one.bucket, one.key) for one in receipts] == [
        ("other-bucket", "ü/a"), (BUCKET, "b"), (BUCKET, "c"), (BUCKET, "d"),
    ]  # fmt: skip


def test_a_wait_ends_when_the_write_is_stored(producer: AnyProducer, worker: Worker) -> None:
    receipts = [producer.put("a", b"body"), producer.delete("b"), producer.put("large", bytes(100_000))]
    with worker.running():
        assert [in_time(producer.wait, receipt, HANG).outcome for receipt in receipts] == ["stored"] * 3


def test_a_wait_tells_what_was_superseded_and_why_a_write_is_dead(producer: AnyProducer, worker: Worker) -> None:
    old, new = producer.put("a", b"old"), producer.put("a", b"new")
    assert producer.wait(old, HANG).outcome == "superseded"
    worker.work(Outcome.DEAD)
    result = producer.wait(new, HANG)
    assert (result.outcome, result.failure) == ("dead", REFUSED)
    assert producer.wait(old, HANG).outcome == "superseded"


def test_a_wait_whose_time_is_up_says_where_the_write_is_and_leaves_it_there(
    producer: AnyProducer, worker: Worker
) -> None:
    receipt = producer.put("a", b"")
    for limit in (0, SHORT):
        with pytest.raises(WaitTimeout, match=f"{BUCKET}/a is still in the queue") as caught:
            in_time(producer.wait, receipt, limit)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.state == "ready"
    worker.work()
    assert producer.wait(receipt, 0).outcome == "stored"


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.RESET, Mode.STALL])
def test_a_blip_of_redis_is_waited_for(producer: AnyProducer, worker: Worker, proxy: Proxy, mode: Mode) -> None:
    receipt = producer.put("a", b"")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(producer.wait, receipt, HANG)
        before = proxy.seen.count(b"EVALSHA")
        wait_until(lambda: proxy.seen.count(b"EVALSHA") >= before + 2, HANG, "it looks")
        proxy.mode = mode
        worker.work()
        proxy.mode = Mode.PASS
        proxy.reset_all()  # what was swallowed stays lost
        assert waiting.result(HANG).outcome == "stored"


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.STALL, Mode.DROP_REPLIES])
def test_a_redis_that_stays_away_ends_the_wait_in_time(producer: AnyProducer, proxy: Proxy, mode: Mode) -> None:
    receipt = producer.put("a", b"")
    with pytest.raises(WaitTimeout):
        producer.wait(receipt, 0)
    proxy.mode = mode
    with pytest.raises(QueueUnavailable) as caught:
        in_time(producer.wait, receipt, SHORT)
    assert caught.value.maybe_accepted


def test_a_restarted_redis_gets_the_script_again(producer: AnyProducer, worker: Worker) -> None:
    receipt = producer.put("a", b"")
    worker.queue.client.script_flush()
    with pytest.raises(WaitTimeout):
        producer.wait(receipt, 0.05)
    worker.work()
    worker.queue.client.script_flush()
    assert producer.wait(receipt, 0.05).outcome == "stored"


def test_a_queue_of_another_layout_ends_the_wait_at_once(producer: AnyProducer, worker: Worker) -> None:
    receipt = producer.put("a", b"")
    worker.queue.client.hset(worker.queue.prefix + "meta", "layout", "999")
    with pytest.raises(QueueMismatch, match="layout 999"):
        in_time(producer.wait, receipt, HANG)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", None, True])
def test_a_time_limit_that_is_none_is_refused(producer: AnyProducer, timeout: Any) -> None:
    with pytest.raises(InvalidSetting, match="timeout="):
        producer.wait(Receipt(1, False, False, BUCKET, "a"), timeout)


@pytest.mark.parametrize("receipt", [Receipt(1, False), 1, None])
def test_what_is_no_receipt_of_a_put_is_refused(producer: AnyProducer, receipt: Any) -> None:
    with pytest.raises(InvalidSetting, match="receipt"):
        producer.wait(receipt, 1)


def test_a_closed_producer_waits_no_more(producer: AnyProducer) -> None:
    receipt = producer.put("a", b"")
    producer.close()
    with pytest.raises(QueueUnavailable, match="closed"):
        in_time(producer.wait, receipt, HANG)


# -- threads, tasks and processes -----------------------------------------------------------------------------------


def test_threads_put_and_wait_with_one_producer_and_keep_few_connections(
    redis_url: str, queue_name: str, worker: Worker
) -> None:
    def work(producer: Producer, name: int) -> list[str]:
        return [producer.wait(producer.put(f"{name}/{number}", b""), HANG).outcome for number in range(10)]

    with Producer(redis_url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer, worker.running():
        with ThreadPoolExecutor(16) as threads:
            found = [
                outcome for some in threads.map(partial(work, producer), range(16), timeout=HANG) for outcome in some
            ]
        assert found == ["stored"] * 160
        assert sum(map(len, producer._waits._idle.values())) <= 4


def test_a_look_that_hangs_holds_up_no_put_and_no_other_wait(proxy: Proxy, queue_name: str, worker: Worker) -> None:
    with (
        Producer(proxy.url, bucket=BUCKET, queue=queue_name, timeout=2 * HANG) as producer,
        ThreadPoolExecutor(1) as threads,
    ):
        hanging = producer.put("hanging", b"")
        with pytest.raises(WaitTimeout):
            producer.wait(hanging, 0)  # connects
        looks = proxy.seen.count(b"EVALSHA")
        proxy.mode = Mode.STALL
        waiting = threads.submit(producer.wait, hanging, HANG)
        wait_until(lambda: proxy.seen.count(b"EVALSHA") > looks, HANG, "it looks")
        proxy.mode = Mode.PASS  # for new connections; what was swallowed stays lost
        receipt = producer.put("other", b"")
        worker.work()
        assert producer.wait(receipt, HANG).outcome == "stored"
        assert not waiting.done()
        proxy.reset_all()
        assert waiting.result(HANG).outcome == "stored"


def test_a_wait_that_hangs_ends_when_the_producer_is_closed(redis_url: str, queue_name: str) -> None:
    producer = Producer(redis_url, bucket=BUCKET, queue=queue_name, timeout=HANG)
    receipt = producer.put("a", b"")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(producer.wait, receipt, HANG)
        wait_until(lambda: any(producer._waits._idle.values()), HANG, "it looks")
        producer.close()
        with pytest.raises(QueueUnavailable, match="closed"):
            waiting.result(HANG)
    assert not any(producer._waits._idle.values())


def test_a_child_and_its_parent_both_wait_after_a_fork(redis_url: str, queue_name: str, worker: Worker) -> None:
    with Producer(redis_url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
        receipt = producer.put("parent", b"")
        with pytest.raises(WaitTimeout):
            producer.wait(receipt, 0)

        def work() -> None:
            with pytest.raises(WaitTimeout):
                producer.wait(receipt, 0)
            own = producer.put("child", b"")
            one = Worker(redis_url, queue_name)
            one.work()
            assert [producer.wait(each, HANG).outcome for each in (receipt, own)] == ["stored"] * 2

        wait_for(in_child(work))
        assert producer.wait(receipt, HANG).outcome == "stored"


def test_tasks_wait_together_and_a_cancelled_one_hurts_no_other(
    redis_url: str, queue_name: str, worker: Worker
) -> None:
    async def work() -> None:
        async with AsyncProducer(redis_url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
            receipts = [await producer.put(f"key/{number}", b"") for number in range(20)]
            waits = [asyncio.create_task(producer.wait(receipt, HANG)) for receipt in receipts]
            while not any(producer._waits._idle.values()):  # until some have looked
                await asyncio.sleep(0.001)
            for wait in waits[::4]:
                wait.cancel()
            worker.work()
            results = await asyncio.gather(*waits, return_exceptions=True)
            for number, result in enumerate(results):
                if number % 4:
                    assert not isinstance(result, BaseException)
                    assert result.outcome == "stored"
                else:
                    assert isinstance(result, asyncio.CancelledError)
            assert (await producer.wait(receipts[0], HANG)).outcome == "stored"

    asyncio.run(work())
