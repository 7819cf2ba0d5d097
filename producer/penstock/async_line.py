"""The asyncio twin of ``penstock.sync_line``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from redis import exceptions

from penstock.queue.connection import open_async_pool
from penstock.queue.durability import MEMORY, PROBE, Durability, no_sync
from penstock.queue.resp import LoadingInPartError, Replies, sort_out


class AsyncLine:
    """Used by one task at a time, of one event loop. Its errors are redis-py's; what bounds its calls is `until`.

    Raises:
        InvalidSetting: the URL cannot be read.
    """

    def __init__(
        self, url: str, step: float, queue: str, shard: int = 0, shards: int = 1, durability: Durability = MEMORY
    ) -> None:
        self._probes = durability.fsync
        self._pool = open_async_pool(url, step, queue, shard, shards)
        self._connection: Any = cast("Any", self._pool).make_connection()
        self.in_step = False  # as in the sync one

    async def close(self) -> None:
        self.in_step = False
        # Without waiting for the goodbye, which a dead server never says.
        await self._connection.disconnect(nowait=True)

    async def is_ready(self) -> bool:
        # What can be read when nobody asked is the end of the stream, in asyncio.
        return self.in_step and not await self._connection.can_read()

    async def connect(self) -> None:
        await self.close()
        await self._connection.connect()
        if self._probes:
            await self._probe()
        self.in_step = True

    async def _probe(self) -> None:
        await self._connection.send_command(*PROBE, check_health=False)
        try:
            await self._connection.read_response(disable_decoding=True)
        except exceptions.ResponseError as error:
            await self._connection.disconnect(nowait=True)
            raise no_sync(error) from None

    async def exchange(self, command: bytes, replies: int) -> object:
        """Sends packed commands and reads their replies. Returns the last one.

        Raises:
            ResponseError: as `sort_out`, after all were read.
        """
        return (await self.exchange_and_wait(command, replies, waits=False)).answer

    async def exchange_and_wait(
        self, command: bytes, replies: int, meanwhile: Callable[[], None] | None = None, *, waits: bool = True
    ) -> Replies:
        """The same, for commands with one behind them that waits. ``meanwhile``: what to do before they are read."""
        self.in_step = False
        await self._connection.send_packed_command((command,), check_health=False)
        if meanwhile is not None:
            meanwhile()
        found: list[object] = []
        for at in range(replies + waits):
            try:
                found.append(await self._connection.read_response(disable_decoding=True))
            except exceptions.ResponseError as error:
                found.append(error)
            except exceptions.BusyLoadingError as error:
                if at == replies - 1:  # the script's
                    raise
                raise LoadingInPartError(str(error)) from None
        self.in_step = True
        return sort_out(found, replies)


@asynccontextmanager
async def until(deadline: float) -> AsyncIterator[None]:
    """Bounds what is inside as redis-py would: with its TimeoutError."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            yield
    except TimeoutError:
        raise exceptions.TimeoutError("no answer in time") from None
