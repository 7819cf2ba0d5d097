"""The asyncio twin of ``penstock.sync_shards``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from penstock.async_commit import AsyncCommit
from penstock.calls import Options, receipts
from penstock.errors import NotDurable, PenstockError, QueueUnavailable
from penstock.packing import Checked
from penstock.queue.commit import Group
from penstock.queue.enqueue import Accepted, OtherShards, Prepared
from penstock.queue.names import shard_of
from penstock.shards import LAST_PAUSE, Detour, Many, ShardCount
from penstock.spooling import keep
from penstock.values import Receipt

if TYPE_CHECKING:
    from penstock.spool.append import Spool


class AsyncShards:
    """For the tasks of one event loop. Connects to a shard on its first write."""

    def __init__(self, options: Options, shards: int, spool: Spool | None, *, closed: bool) -> None:
        self._options = options
        self.known = ShardCount(shards)
        self._spool = spool
        self._first = AsyncCommit(options, spool=self._spool, closed=closed)
        self._others: dict[tuple[int, int], AsyncCommit] = {}
        self.caller = self._first.caller
        self._closed = closed

    async def accept(self, write: Prepared) -> Receipt:
        """Returns when it is accepted. Raises as ``GroupCommit.accept``; OtherShards when that lasts too long."""
        if self._spool is None:
            return await self._accept(write)
        cause: QueueUnavailable | None = None
        if self._closed or not self._spool.flag.pending:
            try:
                return await self._accept(write)
            except QueueUnavailable as error:
                if self._closed:
                    raise
                cause = error
        shards = self.known.shards
        accepted = await asyncio.to_thread(keep, self._spool, self._options, shards, [write], cause)
        return receipts(accepted, [write])[0]

    async def _accept(self, write: Prepared) -> Receipt:
        deadline = time.monotonic() + self._options.timeout
        detour: Detour | None = None
        while True:
            shards = self.known.shards
            line = self._first if shards == 1 else self._line(shard_of(write.name, shards), shards)
            try:
                return receipts(await line.accept([write], deadline), [write])[0]
            except OtherShards as error:
                detour = detour or Detour(self.known, deadline)
                pause = detour.after(error, shards)
            await asyncio.sleep(pause)

    async def accept_many(self, writes: Sequence[Checked]) -> list[Receipt]:
        """The same for many; the error's ``receipts`` are those of the chunks that were accepted before."""
        many = Many(writes)
        places: list[int] = []
        detour: Detour | None = None
        deadline = 0.0
        while True:
            shards = self.known.shards
            try:
                for shard, places, chunk in many.chunks(shards):
                    if detour is None:
                        deadline = time.monotonic() + self._options.timeout
                    accepted = await self._accept_chunk(chunk, shard, shards, deadline, many.meanwhile)
                    many.told(places, chunk, accepted)
                    detour = None
                return many.receipts
            except OtherShards as error:
                detour = detour or Detour(self.known, deadline)
                try:
                    pause = detour.after(error, shards)
                except OtherShards as late:
                    raise many.failed(late) from None
            except NotDurable as error:
                many.accepted(places, error.receipts)
                raise many.failed(error)  # noqa: B904 - the same error
            except PenstockError as error:
                raise many.failed(error)  # noqa: B904 - the same error
            await asyncio.sleep(pause)

    async def _accept_chunk(
        self, chunk: Group, shard: int, shards: int, deadline: float, meanwhile: Callable[[], None]
    ) -> Accepted:
        cause: QueueUnavailable | None = None
        if self._spool is None or self._closed or not self._spool.flag.pending:
            try:
                return await self._line(shard, shards).accept(chunk, deadline, meanwhile)
            except QueueUnavailable as error:
                in_time = isinstance(error, OtherShards) and time.monotonic() + LAST_PAUSE < deadline
                if self._spool is None or self._closed or in_time:
                    raise
                cause = error
        return await asyncio.to_thread(keep, self._spool, self._options, shards, chunk, cause)

    async def close(self) -> None:
        """Waits for the calls that run, then closes the connections. Later calls raise QueueUnavailable."""
        self._closed = True
        for line in (self._first, *self._others.values()):
            await line.close()

    def _line(self, shard: int, shards: int) -> AsyncCommit:
        if shards == 1 or self._closed:
            return self._first
        line = self._others.get((shard, shards))
        if line is None:
            line = self._others[shard, shards] = AsyncCommit(self._options, shard, shards, self._spool)
        return line
