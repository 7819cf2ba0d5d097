"""The producer for asyncio. The same queue, the same answers; see ``penstock.producer``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from penstock.async_shards import AsyncShards
from penstock.async_waits import AsyncWaits
from penstock.calls import Options
from penstock.spooling import begin_replay, open_spool
from penstock.values import (
    DEFAULT_DURABILITY,
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_QUEUE,
    DEFAULT_SPOOL_MAX_BYTES,
    DEFAULT_TIMEOUT,
    DEFAULT_URL,
    Buffer,
    Receipt,
    WaitResult,
    Write,
)
from penstock.waits import closed

_abandoned: list[AsyncShards | AsyncWaits] = []
"""Connections of a parent process. Collecting one would take the connection out of the epoll set that the child shares
with its parent, whose loop would never hear of it again; so they are kept."""


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
        durability: str = DEFAULT_DURABILITY,
        spool: str | None = None,
        spool_max_bytes: int = DEFAULT_SPOOL_MAX_BYTES,
    ) -> None:
        self._start(
            Options.make(url, queue, bucket, timeout, max_body_bytes, priorities, durability, spool, spool_max_bytes)
        )

    @classmethod
    def from_env(cls, *, priorities: Mapping[str, str] | None = None) -> Self:
        """A producer with the settings of the environment (``PENSTOCK_…``). Raises InvalidSetting."""
        producer = cls.__new__(cls)
        producer._start(Options.from_env(priorities))
        return producer

    def _start(self, options: Options) -> None:
        self._options = options
        self._closed = False
        self._open_spool()
        self._begin(shards=1)

    def _open_spool(self) -> None:
        """One for the process, whatever its event loops."""
        self._spool = open_spool(self._options)
        self._replay = None if self._closed else begin_replay(self._options, self._spool)

    def _begin(self, shards: int) -> None:
        """New identities and connections: at the start, in a new event loop, after a fork."""
        self._shards = AsyncShards(self._options, shards, self._spool, closed=self._closed)
        self._waits = AsyncWaits(self._options, self._shards.known)
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

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
        lines = self._here()
        headers = (content_type, cache_control, content_disposition, storage_class)
        prepared = lines.caller.prepare_put(
            key, body, bucket, priority, headers, tags, metadata, tenant, compression, traceparent
        )
        return await lines.accept(prepared)

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
        lines = self._here()
        return await lines.accept(lines.caller.prepare_delete(key, bucket, priority, tenant, traceparent))

    async def put_many(self, writes: Iterable[Write]) -> list[Receipt]:
        """Accepts many writes; see ``Producer.put_many``."""
        lines = self._here()
        return await lines.accept_many(lines.caller.check_many(writes))

    async def wait(self, receipt: Receipt, timeout: float) -> WaitResult:
        """Waits until an accepted write is over; see ``Producer.wait``. A cancelled wait changes nothing."""
        if self._closed:
            raise closed()
        self._here()
        return await self._waits.wait(receipt, timeout)

    async def close(self) -> None:
        """Closes the connections. Calls that run end first; later ones raise QueueUnavailable."""
        self._closed = True
        await self._here().close()
        await self._waits.close()
        if self._replay is not None:
            await asyncio.to_thread(self._replay.close)
        if self._spool is not None:
            await asyncio.to_thread(self._spool.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _here(self) -> AsyncShards:
        """This process's and this event loop's identity."""
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            _abandoned.extend((self._shards, self._waits))
            self._open_spool()
            self._begin(self._shards.known.shards)
        elif self._loop is not None and self._loop is not loop:
            if self._loop.is_running():
                raise RuntimeError("an AsyncProducer serves one event loop at a time: make another one for this loop")
            self._begin(self._shards.known.shards)
        self._loop = loop
        return self._shards
