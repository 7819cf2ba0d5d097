"""How tasks share round trips, with a connection that the test holds in its hand."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock import QueueUnavailable
from penstock.async_commit import AsyncCommit
from penstock.calls import Caller, Options
from penstock.errors import PenstockError
from penstock.queue.commit import Group
from penstock.queue.enqueue import Accepted
from penstock.spool.append import Spool
from penstock.spool.look import spool_stats
from penstock.spooling import keep_lost
from tests.support.held_channel import HANG, LONG, group

LOST = QueueUnavailable("no answer in time", maybe_accepted=True)


class AsyncHeldChannel:
    """In the place of ``async_channel.AsyncChannel``."""

    def __init__(self, caller: Caller) -> None:
        self.calls: list[tuple[list[bytes], float]] = []
        self.looks = 0
        self.connected = asyncio.Event()
        self.lost = False
        self._seq = itertools.count(1)

    async def ready(self, deadline: float) -> None:
        self.looks += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self.connected.wait()
        except TimeoutError:
            raise QueueUnavailable("away", maybe_accepted=False) from None

    async def send(
        self, groups: list[Group], deadline: float, meanwhile: Callable[[], None] | None = None
    ) -> list[Accepted | PenstockError]:
        self.calls.append(([write.name for group in groups for write in group], deadline))
        if self.lost:
            raise LOST
        return [[(next(self._seq), False) for _ in group] for group in groups]

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.async_commit.AsyncChannel", AsyncHeldChannel)


def make(spool: Spool | None = None) -> tuple[AsyncCommit, AsyncHeldChannel]:
    commit = AsyncCommit(Options("redis://h", "queue", "bucket", LONG, 1000, ()), spool=spool)
    channel = commit._channel
    assert isinstance(channel, AsyncHeldChannel)
    return commit, channel


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG):
        while not condition():
            await asyncio.sleep(0.001)


def run(work: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(HANG):
            await work

    asyncio.run(bounded())


async def cancel_while_connecting(commit: AsyncCommit, channel: AsyncHeldChannel) -> None:
    put = asyncio.create_task(commit.accept(group("cancelled"), time.monotonic() + LONG))
    await reached(lambda: channel.looks == 1)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    channel.connected.set()
    await reached(lambda: commit._pump is not None and commit._pump.done())


def test_a_put_that_is_cancelled_before_there_is_a_connection_sends_nothing() -> None:
    async def work() -> None:
        commit, channel = make()
        await cancel_while_connecting(commit, channel)
        assert channel.calls == []
        assert await commit.accept(group("later"), time.monotonic() + LONG) == [(1, False)]

    run(work())


def test_a_put_that_is_cancelled_before_there_is_a_connection_spools_nothing(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), "queue", 1 << 20, HANG)

    async def work() -> None:
        commit, channel = make(spool)
        channel.lost = True
        await cancel_while_connecting(commit, channel)
        assert keep_lost(spool, commit.caller, (0, 0), [], LOST) == []

    run(work())
    assert not spool.pending
    spool.close()
    assert spool_stats(str(tmp_path), "queue").bytes == 0


def test_a_call_has_the_time_of_the_one_of_its_callers_who_has_most() -> None:
    async def work() -> None:
        commit, channel = make()
        now = time.monotonic()
        deadlines = [now + LONG - 1, now + LONG, now + LONG - 2]
        puts = [asyncio.create_task(commit.accept(group(f"{at}"), deadline)) for at, deadline in enumerate(deadlines)]
        await reached(lambda: channel.looks == 1)
        channel.connected.set()
        assert await asyncio.gather(*puts) == [[(1, False)], [(2, False)], [(3, False)]]
        assert channel.calls == [([b"0", b"1", b"2"], now + LONG)]

    run(work())


def test_a_caller_that_came_last_with_little_time_fails_alone_and_the_others_wait_on() -> None:
    async def work() -> None:
        commit, channel = make()
        now = time.monotonic()
        waits = asyncio.create_task(commit.accept(group("waits"), now + LONG))
        second_time = asyncio.create_task(commit.accept(group("second time"), now + 0.05))
        also_waits = asyncio.create_task(commit.accept(group("also waits"), now + LONG - 1))
        third_time = asyncio.create_task(commit.accept(group("third time"), now - 1))
        results = await asyncio.gather(second_time, third_time, return_exceptions=True)
        assert [result.maybe_accepted for result in results if isinstance(result, QueueUnavailable)] == [False, False]
        assert channel.looks <= 3, "it does not ask again and again for a connection"
        channel.connected.set()
        assert list(await asyncio.gather(waits, also_waits)) == [[(1, False)], [(2, False)]]

    run(work())
