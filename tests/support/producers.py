"""Producers against a real Redis: the asyncio one behind the methods of the other, and what reached the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, cast

from penstock import AsyncProducer, Producer, Receipt, WaitResult, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.record import Record, decode
from penstock.queue.results import Stats

BUCKET = "my-bucket"
HANG = 30.0
"""Seconds after which something hangs."""


class BlockingAsyncProducer:
    """An AsyncProducer in an event loop of its own, so that a test is written once for both kinds."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.producer = AsyncProducer(url, **options)

    def put(self, key: str, body: bytes, **fields: Any) -> Receipt:
        return self._runner.run(self.producer.put(key, body, **fields))

    def delete(self, key: str, **fields: Any) -> Receipt:
        return self._runner.run(self.producer.delete(key, **fields))

    def put_many(self, writes: Iterable[Write]) -> list[Receipt]:
        return self._runner.run(self.producer.put_many(writes))

    def wait(self, receipt: Receipt, timeout: float) -> WaitResult:
        return self._runner.run(self.producer.wait(receipt, timeout))

    def close(self) -> None:
        self._runner.run(self.producer.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._runner.close()


AnyProducer = Producer | BlockingAsyncProducer
KINDS: tuple[type[AnyProducer], ...] = (Producer, BlockingAsyncProducer)


class Seen:
    """What a queue holds, read past the producer and past any proxy."""

    def __init__(self, url: str, queue: str) -> None:
        self.client = open_client(url, HANG)
        self._queue = Queue(self.client, queue)
        self.prefix = self._queue.prefix

    def stats(self) -> Stats:
        return self._queue.stats()

    def accepted(self) -> int:
        """Writes that were ever accepted, each time it was."""
        return sum(self.stats().accepted.values())

    def coalesced(self) -> int:
        return sum(self.stats().coalesced.values())

    def limit(self, *, items: int | None = None, size: int | None = None) -> None:
        self._queue.configure(items=items, size=size)

    def records(self) -> dict[str, Record]:
        """The waiting writes by bucket/key."""
        found = cast("dict[bytes, bytes]", self.client.hgetall(self._queue.prefix + "write"))
        return {name.decode(): decode(data) for name, data in found.items()}

    def body(self, name: str) -> bytes:
        record = self.records()[name]
        if record.body is not None:
            return bytes(record.body)
        (body,) = self._queue.fetch_blobs([record.blob_id or ""])
        assert body is not None
        return body

    def keys(self, part: str) -> list[bytes]:
        return cast("list[bytes]", self.client.keys(f"{self._queue.prefix}{part}*"))

    def kill_producers(self) -> int:
        """Closes every connection but this one. Returns how many there were."""
        return cast("int", cast("Any", self.client).client_kill_filter(_type="normal", skipme=True))

    def script_calls(self) -> int:
        """Of all producers and workers of this server, since it started."""
        calls = cast("dict[str, dict[str, int]]", self.client.info("commandstats"))
        return calls.get("cmdstat_evalsha", {"calls": 0})["calls"]

    def close(self) -> None:
        self.client.close()
