"""The producer for asyncio. The same queue, the same answers; see ``penstock.producer``."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from penstock.async_channel import AsyncChannel
from penstock.async_waits import AsyncWaits
from penstock.calls import Caller, Options, late, receipts
from penstock.errors import PenstockError, QueueUnavailable
from penstock.queue.commit import Gathered, Group, chunks
from penstock.queue.enqueue import Accepted
from penstock.values import (
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_QUEUE,
    DEFAULT_TIMEOUT,
    DEFAULT_URL,
    Buffer,
    Receipt,
    WaitResult,
    Write,
)
from penstock.waits import closed

Outcome = Accepted | PenstockError

_abandoned: list[AsyncChannel | AsyncWaits] = []
"""Connections of a parent process. Collecting one would take the connection out of the epoll set that the child shares
with its parent, whose loop would never hear of it again; so they are kept."""

GRACE = 0.1
"""Seconds a caller waits beyond its time limit for the call's own end, which knows whether anything was sent."""


class _Waiter:
    """A caller that waits for a round trip."""

    __slots__ = ("deadline", "future")

    def __init__(self, deadline: float, future: asyncio.Future[Outcome]) -> None:
        self.deadline = deadline
        self.future = future

    def resolve(self, outcome: Outcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


class AsyncProducer:
    """Hands writes to Penstock's queue from asyncio tasks.

    For one event loop at a time, and usable after ``fork`` in a new one. Tasks that put at the same time share round
    trips. A cancelled ``put`` may still be accepted. Arguments and errors are those of ``penstock.Producer``.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        bucket: str | None = None,
        queue: str = DEFAULT_QUEUE,
        priorities: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        self._start(Options.make(url, queue, bucket, timeout, max_body_bytes, priorities))

    @classmethod
    def from_env(cls, *, priorities: Mapping[str, str] | None = None) -> Self:
        """A producer with the settings of the environment (``PENSTOCK_…``). Raises InvalidSetting."""
        producer = cls.__new__(cls)
        producer._start(Options.from_env(priorities))
        return producer

    def _start(self, options: Options) -> None:
        self._options = options
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        """A new identity and connection: at the start, in a new event loop, after a fork."""
        self._caller = Caller(self._options)
        self._channel = AsyncChannel(self._caller)
        self._waits = AsyncWaits(self._options)
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gathered: Gathered[_Waiter] = Gathered()
        self._pump: asyncio.Task[None] | None = None

    async def put(
        self,
        key: str,
        body: Buffer,
        *,
        bucket: str | None = None,
        priority: str | None = None,
        content_type: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        storage_class: str | None = None,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        tenant: str = "",
        compression: str = "zstd",
        traceparent: str | None = None,
    ) -> Receipt:
        """Accepts a write; when it returns, the write is in Redis. See ``Producer.put``."""
        write = Write(
            key=key, body=body, bucket=bucket, priority=priority, content_type=content_type,
            cache_control=cache_control, content_disposition=content_disposition, storage_class=storage_class,
            tags=tags, metadata=metadata, tenant=tenant, compression=compression, traceparent=traceparent,
        )  # fmt: skip
        return (await self._accept([self._here().prepare(write)]))[0]

    async def delete(
        self,
        key: str,
        *,
        bucket: str | None = None,
        priority: str | None = None,
        tenant: str = "",
        traceparent: str | None = None,
    ) -> Receipt:
        """Accepts a delete, in order with the writes of that key."""
        return (await self._accept([self._here().prepare_delete(key, bucket, priority, tenant, traceparent)]))[0]

    async def put_many(self, writes: Iterable[Write]) -> list[Receipt]:
        """Accepts many writes in order; see ``Producer.put_many``."""
        done: list[Receipt] = []
        for chunk in chunks(self._here().prepare_many(writes)):
            try:
                done += await self._accept(chunk)
            except PenstockError as error:
                error.receipts = tuple(done)
                raise
        return done

    async def wait(self, receipt: Receipt, timeout: float) -> WaitResult:
        """Waits until an accepted write is over; see ``Producer.wait``. A cancelled wait changes nothing."""
        if self._closed:
            raise closed()
        self._here()
        return await self._waits.wait(receipt, timeout)

    async def close(self) -> None:
        """Closes the connections. Calls that run end first; later ones raise QueueUnavailable."""
        self._closed = True
        self._here()
        if self._pump is not None:
            # Its end, not its outcome, which its callers are told.
            await asyncio.wait([self._pump])
        await self._channel.close()
        await self._waits.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _here(self) -> Caller:
        """This process's and this event loop's identity."""
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            _abandoned.extend((self._channel, self._waits))
            self._begin()
        elif self._loop is not None and self._loop is not loop:
            if self._loop.is_running():
                raise RuntimeError("an AsyncProducer serves one event loop at a time: make another one for this loop")
            self._begin()
        self._loop = loop
        return self._caller

    async def _accept(self, group: Group) -> list[Receipt]:
        if self._closed:
            raise QueueUnavailable("the producer is closed: make a new one", maybe_accepted=False)
        timeout = self._options.timeout
        waiter = _Waiter(time.monotonic() + timeout, asyncio.get_running_loop().create_future())
        self._gathered.add(waiter, group)
        if self._pump is None or self._pump.done():
            # A task of its own, so that a cancelled caller does not tear the others' call apart.
            self._pump = asyncio.create_task(self._send_all())
        try:
            async with asyncio.timeout(timeout + GRACE):
                outcome = await waiter.future
        except TimeoutError:
            waiting = self._gathered.remove(waiter)
            raise late(timeout, maybe_accepted=not waiting) from None
        except asyncio.CancelledError:
            self._gathered.remove(waiter)
            raise
        if isinstance(outcome, PenstockError):
            # A copy, because other tasks may raise the same one, and put_many adds to it.
            raise copy.copy(outcome) from outcome.__cause__
        return receipts(outcome, group)

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
        """One call, within the time limit of the newest; as in ``group_commit``, after a connection is there."""
        try:
            await self._channel.ready(deadline)
        except PenstockError as error:
            while self._gathered and self._gathered.oldest().deadline <= deadline:
                waiter = self._gathered.oldest()
                self._gathered.remove(waiter)
                waiter.resolve(error)
            return
        waiters, groups = self._gathered.take()
        outcomes: list[Outcome] = [QueueUnavailable("the call was interrupted", maybe_accepted=True)] * len(groups)
        try:
            outcomes = await self._channel.send(groups, deadline)
        except PenstockError as error:
            outcomes = [error] * len(groups)
        finally:
            for waiter, outcome in zip(waiters, outcomes, strict=True):
                waiter.resolve(outcome)
