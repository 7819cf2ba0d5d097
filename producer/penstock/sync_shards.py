"""A producer's writes on their way to the shards: a line of shared round trips for each (``group_commit``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from penstock.calls import Options, receipts
from penstock.errors import NotDurable, PenstockError, QueueUnavailable
from penstock.group_commit import GroupCommit
from penstock.packing import Checked
from penstock.queue.commit import Group
from penstock.queue.enqueue import Accepted, OtherShards, Prepared
from penstock.queue.names import shard_of
from penstock.shards import LAST_PAUSE, Detour, Many, ShardCount
from penstock.spooling import begin_replay, keep, open_spool
from penstock.values import Receipt


class Shards:
    """Safe to share between threads, not between processes. Connects to a shard on its first write.

    Lines to shards that are no more stay until `close`: a thread may just be on its way to one.
    """

    def __init__(self, options: Options, shards: int = 1) -> None:
        self._options = options
        self.known = ShardCount(shards)
        self._lock = threading.Lock()
        self._spool = open_spool(options)
        self._replay = begin_replay(options, self._spool)
        self._first = GroupCommit(options, spool=self._spool)
        self._others: dict[tuple[int, int], GroupCommit] = {}
        self.caller = self._first.caller
        self.closed = False

    def accept(self, write: Prepared) -> Receipt:
        """Returns when it is accepted. Raises as ``GroupCommit.accept``; OtherShards when that lasts too long."""
        if self._spool is None:
            return self._accept(write)
        cause: QueueUnavailable | None = None
        if self.closed or not self._spool.flag.pending:
            try:
                return self._accept(write)
            except QueueUnavailable as error:
                if self.closed:
                    raise
                cause = error
        return receipts(keep(self._spool, self._options, self.known.shards, [write], cause), [write])[0]

    def _accept(self, write: Prepared) -> Receipt:
        deadline = time.monotonic() + self._options.timeout
        detour: Detour | None = None
        while True:
            shards = self.known.shards
            line = self._first if shards == 1 else self._line(shard_of(write.name, shards), shards)
            try:
                return receipts(line.accept([write], deadline), [write])[0]
            except OtherShards as error:
                detour = detour or Detour(self.known, deadline)
                pause = detour.after(error, shards)
            time.sleep(pause)

    def accept_many(self, writes: Sequence[Checked]) -> list[Receipt]:
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
                    accepted = self._accept_chunk(chunk, shard, shards, deadline, many.meanwhile)
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
            time.sleep(pause)

    def _accept_chunk(
        self, chunk: Group, shard: int, shards: int, deadline: float, meanwhile: Callable[[], None]
    ) -> Accepted:
        cause: QueueUnavailable | None = None
        if self._spool is None or self.closed or not self._spool.flag.pending:
            try:
                return self._line(shard, shards).accept(chunk, deadline, meanwhile)
            except QueueUnavailable as error:
                in_time = isinstance(error, OtherShards) and time.monotonic() + LAST_PAUSE < deadline
                if self._spool is None or self.closed or in_time:
                    raise
                cause = error
        return keep(self._spool, self._options, shards, chunk, cause)

    def close(self) -> None:
        """Waits for the calls that run, then closes the connections. Later calls raise QueueUnavailable."""
        with self._lock:
            self.closed = True
            lines = [self._first, *self._others.values()]
        for line in lines:
            line.close()
        if self._replay is not None:
            self._replay.close()
        if self._spool is not None:
            self._spool.close()

    def _line(self, shard: int, shards: int) -> GroupCommit:
        if shards == 1:
            return self._first
        line = self._others.get((shard, shards))
        if line is None:
            with self._lock:
                if self.closed:
                    return self._first  # which says so
                line = self._others.setdefault((shard, shards), GroupCommit(self._options, shard, shards, self._spool))
        return line
