"""The asyncio twin of ``penstock.sync_channel``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from redis import exceptions

from penstock.async_line import AsyncLine, until
from penstock.attempts import Attempts, least_try
from penstock.calls import Caller, not_durable
from penstock.errors import PenstockError
from penstock.queue.commit import Group
from penstock.queue.durability import lost_master
from penstock.queue.enqueue import Accepted


class AsyncChannel:
    """Used by one task at a time, of one event loop. Connects on first use.

    Raises:
        InvalidSetting: the URL cannot be read.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._url = caller.options.url
        self._durability = caller.options.durability
        self._step = caller.options.timeout / 2
        self._least = least_try(caller.options.timeout)
        self._line = AsyncLine(
            self._url, self._step, caller.options.queue, caller.shard, caller.shards, self._durability
        )

    async def close(self) -> None:
        await self._line.close()

    async def ready(self, deadline: float) -> None:
        """Connects, if need be. Raises QueueUnavailable: nothing was sent."""
        if await self._line.is_ready():
            return
        attempts = Attempts(self._url, deadline)
        while True:
            try:
                async with until(deadline):
                    await self._connect(deadline)
                return
            except exceptions.RedisError as error:
                if not self._line.in_step:
                    await self.close()
                pause, _ = attempts.after(error, sent=False)
            await asyncio.sleep(pause)

    async def send(
        self, groups: list[Group], deadline: float, meanwhile: Callable[[], None] | None = None
    ) -> list[Accepted | PenstockError]:
        """One call for all groups, on a connection that is `ready`. ``meanwhile``: what to do while Redis works.

        Raises:
            QueueUnavailable, QueueMismatch: for the call as a whole.
        """
        line = self._line
        command, replies = self._caller.encode(groups)
        attempts: Attempts | None = None
        while True:
            sent = False
            try:
                async with until(deadline):
                    if not line.in_step:
                        await self._connect(deadline)
                    sent = True
                    answer, refused, missing = await self._exchange(command, replies, deadline, meanwhile)
                if isinstance(answer, bytes):
                    outcomes = self._caller.decode(answer, groups, refused)
                    return outcomes if missing is None else not_durable(outcomes, groups, self._durability, missing)
                await line.close()
                raise exceptions.InvalidResponse("an answer that is none of Penstock's")
            except exceptions.RedisError as error:
                if not line.in_step:
                    await line.close()
                attempts = attempts or Attempts(self._url, deadline)
                pause, needs_script = attempts.after(error, sent=sent)
            if needs_script:
                command, replies = self._caller.with_script(command, replies)
            else:
                await line.close()  # a new connection may lead to another server, which became the master
            await asyncio.sleep(pause)

    async def _connect(self, deadline: float) -> None:
        await self._line.connect()
        if deadline - time.monotonic() < self._least:
            # The next caller's call finds the connection there.
            raise exceptions.TimeoutError("connecting to it took until the end of the time limit")

    async def _exchange(
        self, command: bytes, replies: int, deadline: float, meanwhile: Callable[[], None] | None
    ) -> tuple[object, exceptions.ResponseError | None, str | None]:
        """The answer, what Redis refused beside it, and what it lacks to be as durable as asked for at the end."""
        line, durability = self._line, self._durability
        if not durability.waits:
            plain = await line.exchange_and_wait(command, replies, meanwhile, waits=False)
            return plain.answer, plain.refused, None
        left = deadline - time.monotonic()
        behind = durability.command(min(left, self._step))
        answer, refused, verdict = await line.exchange_and_wait(command + behind, replies, meanwhile)
        while (missing := durability.missing(verdict)) and (left := durability.left(verdict, deadline)):
            _, _, verdict = await line.exchange_and_wait(durability.command(min(left, self._step)), 0)
        lost = lost_master(verdict)
        if lost is not None:
            await line.close()
            raise lost
        return answer, refused, missing
