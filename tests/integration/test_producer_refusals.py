"""A Redis that loads, is blocked, forgets its scripts or cannot write: what callers are told, and what was accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import PenstockError, QueueUnavailable, Write
from penstock.async_channel import AsyncChannel
from penstock.calls import Caller, Options
from penstock.packing import pack
from penstock.queue.commit import Group
from penstock.queue.enqueue import Accepted
from penstock.queue.record import LARGE_BODY
from penstock.sync_channel import Channel
from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer, Seen
from tests.support.proxy import Mode, Proxy
from tests.support.redis_faults import BUSY_OPTIONS, LOADS_SLOWLY, busy, loading
from tests.support.wait import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.faults]

TIMEOUT = 1.0
"""A call's time limit where a test waits for its end."""
HALF_OPEN_TIMEOUT = 6.0
"""The same where half of it is waited for, and the other half must be enough on a busy machine."""


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None) -> Iterator[RedisServer]:
    """One that says soon that a script blocks it."""
    directory = tmp_path_factory.mktemp("redis")
    with RedisServer(directory, appendfsync="always", executable=redis_executable, extra=BUSY_OPTIONS) as server:
        yield server


@pytest.fixture
def seen(redis_url: str, queue_name: str) -> Iterator[Seen]:
    seen = Seen(redis_url, queue_name)
    yield seen
    seen.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(params=KINDS, ids=["threads", "asyncio"])
def kind(request: pytest.FixtureRequest) -> type[AnyProducer]:
    made: type[AnyProducer] = request.param
    return made


@pytest.fixture
def blocked(redis_server: RedisServer, seen: Seen) -> Iterator[Seen]:
    """Redis runs a script that never ends, until the test is over or kills it."""
    with busy(redis_server):
        yield seen


def sends(proxy: Proxy) -> int:
    return proxy.seen.count(b"EVALSHA")


def assert_refused(error: QueueUnavailable, word: str) -> None:
    """It was told why; or one of several tries had no answer in time, and then nobody knows of that one."""
    assert word in str(error) or error.maybe_accepted, error


def test_a_redis_that_loads_its_data_is_waited_for_and_then_told(
    kind: type[AnyProducer], tmp_path: Path, redis_executable: str | None
) -> None:
    with RedisServer(tmp_path, appendfsync="always", executable=redis_executable, extra=LOADS_SLOWLY) as server:
        seen = Seen(server.url, "default")
        with (
            kind(server.url, bucket=BUCKET, timeout=HANG) as producer,
            kind(server.url, bucket=BUCKET, timeout=TIMEOUT) as hasty,
            ThreadPoolExecutor(1) as threads,
        ):
            producer.put("before", b"body")
            with loading(server):
                with pytest.raises(QueueUnavailable) as caught:
                    hasty.put("during", b"body")
                assert_refused(caught.value, "loading")
                call = threads.submit(producer.put, "after", b"body")
            assert call.result(HANG).seq > 0
        assert sorted(seen.records()) == [f"{BUCKET}/after", f"{BUCKET}/before"]
        assert seen.accepted() == 2
        seen.close()


def test_a_call_that_a_script_blocks_goes_through_when_that_is_killed(
    kind: type[AnyProducer], proxy: Proxy, queue_name: str, blocked: Seen
) -> None:
    with (
        kind(proxy.url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer,
        ThreadPoolExecutor(1) as threads,
    ):
        call = threads.submit(producer.put, "key", bytes(LARGE_BODY))
        wait_until(lambda: sends(proxy) >= 2, HANG, "it was refused, and sent again")
        assert not call.done()
        blocked.client.script_kill()
        receipt = call.result(HANG)
    assert blocked.records()[f"{BUCKET}/key"].seq == receipt.seq
    assert blocked.body(f"{BUCKET}/key") == bytes(LARGE_BODY)
    assert blocked.accepted() == 1


def test_a_call_that_a_script_blocks_to_its_end_was_not_accepted_and_says_so(
    kind: type[AnyProducer], redis_url: str, queue_name: str, blocked: Seen
) -> None:
    with kind(redis_url, bucket=BUCKET, queue=queue_name, timeout=TIMEOUT) as producer:
        with pytest.raises(QueueUnavailable) as caught:
            producer.put("key", b"body")
        assert_refused(caught.value, "BUSY")
        blocked.client.script_kill()
        assert not producer.put("key", b"body").coalesced
    assert blocked.accepted() == 1


def test_a_connection_whose_other_end_is_gone_costs_half_the_time_and_the_call_counts_once(
    kind: type[AnyProducer], proxy: Proxy, queue_name: str, seen: Seen
) -> None:
    """Half-open: nothing says that it is dead, and what is sent goes nowhere."""
    with (
        kind(proxy.url, bucket=BUCKET, queue=queue_name, timeout=HALF_OPEN_TIMEOUT) as producer,
        ThreadPoolExecutor(1) as threads,
    ):
        producer.put("first", b"body")
        before, connections = sends(proxy), proxy.connections
        proxy.mode = Mode.STALL
        call = threads.submit(producer.put, "key", b"body")
        wait_until(lambda: sends(proxy) > before, HANG, "it is sent")
        proxy.mode = Mode.PASS
        assert not call.result(HANG).coalesced
        assert proxy.connections == connections + 1
    assert seen.accepted() == 2


def test_many_calls_while_redis_forgets_its_scripts_again_and_again_count_once_each(
    kind: type[AnyProducer], redis_url: str, queue_name: str, seen: Seen
) -> None:
    with kind(redis_url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
        for number in range(20):
            seen.client.script_flush()
            producer.put_many([Write(key=f"{number}/{n}", body=b"x" * (n * LARGE_BODY)) for n in range(3)])
    assert seen.accepted() == 60
    assert len(seen.records()) == 60


def test_a_large_body_that_is_refused_does_not_hide_that_others_of_its_call_were_accepted(
    kind: type[AnyProducer], redis_server: RedisServer, queue_name: str, seen: Seen
) -> None:
    """Bodies go before the script, each as a command of its own: Redis may refuse one and run the script."""
    everything_but_bodies = (f"%R~{seen.prefix}*", f"~{seen.prefix}[^b]*")
    seen.client.execute_command("ACL SETUSER", "no-bodies", "reset", "on", ">pass", "+@all", *everything_but_bodies)
    url = redis_server.url.replace("redis://", "redis://no-bodies:pass@")
    caller = Caller(Options.make(url, queue_name, BUCKET, HANG, LARGE_BODY, None, "memory"))
    groups = [[pack(caller.check(Write(key=key, body=body)))] for key, body in (("a", b""), ("b", bytes(LARGE_BODY)))]
    with kind(redis_server.url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
        producer.put("first", b"")  # Redis has the script
    small, large = send(kind, caller, groups)
    assert not isinstance(small, PenstockError), small
    assert isinstance(large, QueueUnavailable)
    assert not large.maybe_accepted
    assert "permission" in str(large), "the cause is told"
    assert sorted(seen.records()) == [f"{BUCKET}/a", f"{BUCKET}/first"]
    assert seen.accepted() == 2


def send(kind: type[AnyProducer], caller: Caller, groups: list[Group]) -> list[Accepted | PenstockError]:
    """One call, as callers share it."""
    deadline = time.monotonic() + HANG
    if kind is KINDS[0]:
        channel = Channel(caller)
        try:
            channel.ready(deadline)
            return channel.send(groups, deadline)
        finally:
            channel.close()

    async def run() -> list[Accepted | PenstockError]:
        channel = AsyncChannel(caller)
        try:
            await channel.ready(deadline)
            return await channel.send(groups, deadline)
        finally:
            await channel.close()

    return asyncio.run(run())
