"""How the tasks of an asynchronous producer share round trips; see ``penstock.group_commit``."""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.async_channel import AsyncChannel
from penstock.calls import Caller, Options, late
from penstock.errors import PenstockError, QueueUnavailable
from penstock.queue.commit import Gathered, Group
from penstock.queue.enqueue import Accepted
from penstock.spooling import keep_lost, note_given

if TYPE_CHECKING:
    from penstock.spool.append import Spool

Outcome = Accepted | PenstockError

GRACE = 0.1
"""Seconds a caller waits beyond its time limit for the call's own end, which knows whether anything was sent."""


class _Waiter:
    """A caller that waits for a round trip."""

    __slots__ = ("deadline", "future", "meanwhile")

    def __init__(self, deadline: float, future: asyncio.Future[Outcome], meanwhile: Callable[[], None] | None) -> None:
        self.deadline = deadline
        self.future = future
        self.meanwhile = meanwhile

    def resolve(self, outcome: Outcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


class AsyncCommit:
    """Sends groups of writes to one shard, each as a whole. For the tasks of one event loop."""

    def __init__(
        self,
        options: Options,
        shard: int = 0,
        shards: int = 1,
        spool: Spool | None = None,
        *,
        closed: bool = False,
    ) -> None:
        self.caller = Caller(options, shard, shards)
        self._options = options
        self._spool = spool
        self._watch = None if spool is None else spool.flag.watch(shard, shards)
        self._channel = AsyncChannel(self.caller)
        self._gathered: Gathered[_Waiter] = Gathered()
        self._pump: asyncio.Task[None] | None = None
        self._closed = closed

    async def accept(self, group: Group, deadline: float, meanwhile: Callable[[], None] | None = None) -> Accepted:
        """Returns when the group is accepted, by ``deadline`` (time.monotonic). Raises as ``GroupCommit.accept``."""
        if self._closed:
            raise QueueUnavailable("the producer is closed: make a new one", maybe_accepted=False)
        waiter = _Waiter(deadline, asyncio.get_running_loop().create_future(), meanwhile)
        self._gathered.add(waiter, group)
        if self._pump is None or self._pump.done():
            # A task of its own, so that a cancelled caller does not tear the others' call apart.
            self._pump = asyncio.create_task(self._send_all())
        try:
            async with asyncio.timeout(self._patience(deadline)):
                outcome = await waiter.future
        except TimeoutError:
            waiting = self._gathered.remove(waiter)
            raise late(self._options.timeout, maybe_accepted=not waiting) from None
        except asyncio.CancelledError:
            self._gathered.remove(waiter)
            raise
        if isinstance(outcome, PenstockError):
            # A copy, because other tasks may raise the same one, and put_many adds to it.
            raise copy.copy(outcome) from outcome.__cause__
        return outcome

    def _patience(self, deadline: float) -> float:
        """Seconds that a caller waits: with a spool for its call's end, since that is spooled as a whole."""
        more = GRACE if self._spool is None else 2 * self._options.timeout
        return max(0.0, deadline - time.monotonic()) + more

    async def close(self) -> None:
        """Waits for the calls that run, then closes the connection. Later calls raise QueueUnavailable."""
        self._closed = True
        if self._pump is not None:
            # Its end, not its outcome, which its callers are told.
            await asyncio.wait([self._pump])
        await self._channel.close()

    async def _send_all(self) -> None:
        """One call after the other until nobody waits. If it is cancelled itself, nobody is left waiting."""
        try:
            while self._gathered:
                await self._send_gathered(self._gathered.newest().deadline)
        finally:
            while self._gathered:
                for waiter in self._gathered.take()[0]:
                    waiter.resolve(QueueUnavailable("the event loop is ending", maybe_accepted=False))

    async def _send_gathered(self, deadline: float) -> None:
        """One call, after a connection is there, as in ``group_commit``.

        Within the time limit of the newest, or of whom the call is for, where that is later: a caller that comes a
        second time, to another shard, brings the rest of its own, and nobody fails because another one's time is up.
        """
        try:
            await self._channel.ready(deadline)
        except PenstockError as error:
            self._fail_gathered(error, deadline)
            return
        spool, watch = self._spool, self._watch
        if spool is not None and spool.flag.pending:  # what gathered behind a call that was lost goes behind it
            self._fail_gathered(QueueUnavailable("writes wait in the spool", maybe_accepted=False), math.inf)
            return
        waiters, groups = self._gathered.take()
        if not groups:  # all who waited for the connection have given up
            return
        deadline = max(deadline, max([waiter.deadline for waiter in waiters]))
        mark = None if watch is None else watch.mark()
        meanwhile = waiters[0].meanwhile if len(waiters) == 1 else None
        outcomes: list[Outcome] = [QueueUnavailable("the call was interrupted", maybe_accepted=True)] * len(groups)
        try:
            outcomes = await self._channel.send(groups, deadline, meanwhile)
            if watch is not None:
                note_given(watch, outcomes)
        except PenstockError as error:
            outcomes = [error] * len(groups)
            if spool is not None and mark is not None:
                outcomes = await asyncio.to_thread(keep_lost, spool, self.caller, mark, groups, error)
        finally:
            for waiter, outcome in zip(waiters, outcomes, strict=True):
                waiter.resolve(outcome)

    def _fail_gathered(self, error: PenstockError, deadline: float) -> None:
        """Of those whose time is up by then, which may have come in another order."""
        for waiter in self._gathered.remove_all(lambda waiter: waiter.deadline <= deadline):
            waiter.resolve(error)
