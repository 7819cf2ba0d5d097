"""The producer for threads: hands writes to the queue and returns when they are safe there."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

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

if TYPE_CHECKING:
    from penstock.calls import Options
    from penstock.sync_shards import Shards
    from penstock.sync_waits import Waits


class Producer:
    """Hands writes to Penstock's queue.

    Safe to share between threads, and usable after ``fork`` (a child gets a connection of its own). Connects on first
    use. Concurrent callers share round trips; each returns only when its own write is accepted. Not for signal
    handlers, which may interrupt it in the middle.

    Args:
        url: Redis, ``redis://`` or ``rediss://``; Sentinel's and a cluster's addresses are in docs/connections.md.
        bucket: used where ``put`` names none.
        queue: the queue's name, as the workers have it in ``PENSTOCK_QUEUE``.
        priorities: key prefix to priority; the longest that fits counts where ``put`` names none.
        timeout: seconds a call takes at most; each chunk's, for ``put_many``.
        max_body_bytes: a larger body is refused with InvalidWrite.
        durability: when a write is safe enough for its call to return: ``memory`` (Redis has it), ``fsync`` (its disk,
            with Redis 7.2 or Valkey), ``replicas:N`` (so many replicas too).
        spool: a directory on this host's disk. While Redis is away writes go there, and are replayed when it is
            back; see docs/spool.md.
        spool_max_bytes: with more in the spool a write is refused with QueueFull.

    Raises:
        InvalidSetting: a setting has no usable value.
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
        # Imported here, so that `import penstock` is cheap; and not on the first put, whose time limit is running, nor
        # after a fork, where an import that another thread had begun never ends.
        from penstock.calls import Options

        options = Options.make(
            url, queue, bucket, timeout, max_body_bytes, priorities, durability, spool, spool_max_bytes
        )
        self._start(options)

    @classmethod
    def from_env(cls, *, priorities: Mapping[str, str] | None = None) -> Self:
        """A producer with the settings of the environment (``PENSTOCK_…``). Raises InvalidSetting."""
        from penstock.calls import Options

        producer = cls.__new__(cls)
        producer._start(Options.from_env(priorities))
        return producer

    def _start(self, options: Options) -> None:
        from penstock.sync_shards import Shards
        from penstock.sync_waits import Waits

        self._options = options
        self._shards: Shards = Shards(options)
        self._waits: Waits = Waits(options, self._shards.known)
        _live.add(self)

    def put(
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
        """Accepts a write of ``body`` to ``key``; when it returns, the write is in Redis, or in the
        spool (``.spooled`` of the receipt).

        Args:
            key: 1 to 1,024 bytes of UTF-8 without control characters.
            body: bytes-like.
            priority: ``critical``, ``high``, ``normal`` or ``low``; by key prefix, else normal, when not given.
            tags: at most 10. metadata: about 1.9 KB of ASCII.
            tenant: writes of one tenant do not delay another's.
            compression: ``zstd``, or ``none`` to store the body as it is.
            traceparent: the trace that the worker's log lines shall name (W3C Trace Context); when not given that of
                OpenTelemetry's span, if one is recording.

        Raises:
            InvalidWrite: nothing was sent.
            QueueFull: nothing was accepted.
            QueueUnavailable: see its ``maybe_accepted``.
            NotDurable: accepted, but not as safe as ``durability`` asks.
            InvalidSetting: this Redis cannot give that durability. Nothing was sent.
        """
        lines = self._shards
        headers = (content_type, cache_control, content_disposition, storage_class)
        prepared = lines.caller.prepare_put(
            key, body, bucket, priority, headers, tags, metadata, tenant, compression, traceparent
        )
        return lines.accept(prepared)

    def delete(
        self,
        key: str,
        *,
        bucket: str | None = None,
        priority: str | None = None,
        tenant: str = "",
        traceparent: str | None = None,
    ) -> Receipt:
        """Accepts a delete of ``key``, in order with the writes of that key. Raises as ``put`` does."""
        lines = self._shards
        return lines.accept(lines.caller.prepare_delete(key, bucket, priority, tenant, traceparent))

    def put_many(self, writes: Iterable[Write]) -> list[Receipt]:
        """Accepts many writes, those of a key in order, in chunks of at most 256 writes and 1 MiB.

        A chunk is all or none. All are validated before the first is sent. A larger body makes a chunk of its own, and
        where the queue has several shards a chunk is for one of them. Receipts come in the order of the writes.

        Raises:
            PenstockError: as ``put``; ``.receipts`` holds those of the chunks accepted before, and with
                NotDurable those of the last one too.
        """
        lines = self._shards
        return lines.accept_many(lines.caller.check_many(writes))

    def wait(self, receipt: Receipt, timeout: float) -> WaitResult:
        """Waits until an accepted write is over: stored, superseded, or dead; see ``WaitResult``.

        It looks at the queue now and then (after 5 ms first, every 100 ms at last), on connections of its own: it holds
        up no ``put``, and may be called from many threads. A Redis that is away for a moment is waited for.

        Args:
            receipt: of this queue.
            timeout: seconds; 0 looks once.

        Raises:
            WaitTimeout: the write is still in the queue, where it stays; also a ``TimeoutError``.
            QueueUnavailable: Redis is away, and was not back in time. What became of the write is not known.
            InvalidSetting: ``timeout`` is no time, or ``receipt`` no receipt.
        """
        return self._waits.wait(receipt, timeout)

    def close(self) -> None:
        """Closes the connections. Calls that run end first, except waits; later ones raise QueueUnavailable."""
        self._shards.close()
        self._waits.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _forked(self) -> None:
        # The parent's threads, which may hold a lock, do not exist in the child, and the socket is the parent's.
        from penstock.sync_shards import Shards
        from penstock.sync_waits import Waits

        before = self._shards
        self._shards = Shards(self._options, before.known.shards)
        self._waits = Waits(self._options, self._shards.known)
        if before.closed:
            self.close()


_live: weakref.WeakSet[Producer] = weakref.WeakSet()


def _after_fork() -> None:
    for producer in list(_live):
        producer._forked()


os.register_at_fork(after_in_child=_after_fork)
