"""The asyncio twin of ``penstock.sync_waits``."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from redis import exceptions

from penstock.async_line import AsyncLine, until
from penstock.calls import Options
from penstock.queue.connection import Fate, fate_of
from penstock.shards import ShardCount
from penstock.values import Receipt, WaitResult
from penstock.waits import IDLE_LINES, Wait, closed


class AsyncWaits:
    """For the tasks of one event loop."""

    def __init__(self, options: Options, known: ShardCount) -> None:
        self._options = options
        self._known = known
        self._idle: defaultdict[tuple[int, int], list[AsyncLine]] = defaultdict(list)  # a shard, of how many
        self._closed = False

    async def wait(self, receipt: Receipt, timeout: float) -> WaitResult:
        """See ``Producer.wait``."""
        wait = Wait(self._options, self._known, receipt, timeout)
        while True:
            try:
                step = wait.answered(await self._look(wait))
            except exceptions.RedisError as error:
                step = wait.failed(error)
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # redis-py can swallow it in the time limits of its own
                raise asyncio.CancelledError
            if isinstance(step, WaitResult):
                return step
            await asyncio.sleep(step)

    async def close(self) -> None:
        """Those that wait raise QueueUnavailable at their next look."""
        self._closed = True
        for lines in list(self._idle.values()):
            while lines:
                await lines.pop().close()

    async def _look(self, wait: Wait) -> object:
        if self._closed:
            raise closed()
        shard = wait.shard()
        idle = self._idle[shard]
        line = idle.pop() if idle else self._open(*shard)
        command, replies, deadline = wait.look()
        try:
            async with until(deadline):
                if not await line.is_ready():
                    await line.connect()
                return await line.exchange(command, replies)
        except exceptions.ResponseError as error:
            if fate_of(error) is Fate.REFUSED:
                await line.close()
            raise
        finally:
            await self._give_back(line, idle)

    def _open(self, shard: int, shards: int) -> AsyncLine:
        return AsyncLine(self._options.url, self._options.timeout / 2, self._options.queue, shard, shards)

    async def _give_back(self, line: AsyncLine, idle: list[AsyncLine]) -> None:
        if line.in_step and not self._closed and len(idle) < IDLE_LINES:
            idle.append(line)
        else:
            await line.close()
