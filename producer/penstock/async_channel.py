"""The asyncio twin of ``penstock.sync_channel``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from redis import exceptions

from penstock.attempts import Attempts
from penstock.calls import Caller
from penstock.errors import PenstockError
from penstock.queue.commit import Group
from penstock.queue.connection import open_async_pool
from penstock.queue.enqueue import Accepted, decode_answer


class AsyncChannel:
    """Used by one task at a time, of one event loop. Connects on first use.

    Raises:
        InvalidSetting: the URL cannot be read.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._url = caller.options.url
        self._pool = open_async_pool(self._url, caller.options.timeout / 2)
        self._connection: Any = cast("Any", self._pool).make_connection()
        self._in_step = False  # as in the sync one

    async def close(self) -> None:
        self._in_step = False
        # Without waiting for the goodbye, which a dead server never says.
        await self._connection.disconnect(nowait=True)

    async def ready(self, deadline: float) -> None:
        """Connects, if need be. Raises QueueUnavailable: nothing was sent."""
        # What can be read when nobody asked is the end of the stream, in asyncio.
        if self._in_step and not await self._connection.can_read():
            return
        attempts = Attempts(self._url, deadline)
        while True:
            try:
                async with _until(deadline):
                    await self._connect()
                return
            except exceptions.RedisError as error:
                await self.close()
                pause, _ = attempts.after(error, sent=False)
            await asyncio.sleep(pause)

    async def send(self, groups: list[Group], deadline: float) -> list[Accepted | PenstockError]:
        """One call for all groups, on a connection that is `ready`.

        Raises:
            QueueUnavailable, QueueMismatch: for the call as a whole.
        """
        command, replies = self._caller.encode(groups)
        attempts: Attempts | None = None
        while True:
            sent = False
            try:
                async with _until(deadline):
                    if not self._in_step:
                        await self._connect()
                    self._in_step = False
                    sent = True
                    await self._connection.send_packed_command((command,), check_health=False)
                    answer = await self._read(replies)
                return decode_answer(answer, groups)
            except exceptions.RedisError as error:
                if not self._in_step:
                    await self.close()
                attempts = attempts or Attempts(self._url, deadline)
                pause, needs_script = attempts.after(error, sent=sent)
            if needs_script:
                command, replies = self._caller.with_script(command, replies)
            else:
                await self.close()  # a new connection may lead to another server, which became the master
            await asyncio.sleep(pause)

    async def _connect(self) -> None:
        await self.close()
        await self._connection.connect()
        self._in_step = True

    async def _read(self, replies: int) -> bytes:
        """The last reply; those of large bodies come before it. The first error counts, after all were read."""
        failure: exceptions.ResponseError | None = None
        answer: object = None
        for _ in range(replies):
            try:
                answer = await self._connection.read_response(disable_decoding=True)
            except exceptions.ResponseError as error:
                failure = failure or error
        if failure is None and not isinstance(answer, bytes):
            raise exceptions.InvalidResponse("an answer that is none of Penstock's")
        self._in_step = True
        if failure is not None:
            raise failure
        return cast("bytes", answer)


@asynccontextmanager
async def _until(deadline: float) -> AsyncIterator[None]:
    """Bounds what is inside as redis-py would: with its TimeoutError."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            yield
    except TimeoutError:
        raise exceptions.TimeoutError("no answer in time") from None
