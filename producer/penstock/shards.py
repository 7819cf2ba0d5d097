"""Which shard a write goes to, as far as a producer knows. Shared by threads and asyncio; no I/O here.

A producer counts with one shard until the queue tells it another number, so a queue with one costs no further question.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from penstock.calls import receipts
from penstock.errors import PenstockError
from penstock.packing import Checked, cost_of, pack
from penstock.queue.commit import Group
from penstock.queue.enqueue import MAX_CALL_BYTES, MAX_CALL_WRITES, Accepted, OtherShards
from penstock.queue.names import shard_of
from penstock.values import Receipt

FIRST_PAUSE = 0.01
LAST_PAUSE = 0.2
"""Seconds before a write is sent again while the number of shards is being changed, with full jitter between."""


class ShardCount:
    """How many shards the queue has. Safe to share between threads: one number, replaced as a whole."""

    def __init__(self, shards: int = 1) -> None:
        self.shards = shards

    def told(self, shards: int) -> None:
        """What a shard says. 0, while the number is being changed: then shard 0 knows first what it will be."""
        self.shards = shards or 1


class Detour:
    """A call that met another number of shards than it was made for; when it is made again."""

    def __init__(self, known: ShardCount, deadline: float) -> None:
        self._known = known
        self._deadline = deadline
        self._tries = 0

    def after(self, error: OtherShards, made_for: int) -> float:
        """Seconds until the call is made again, for the number of shards that is known by then.

        Raises:
            OtherShards: there is no time left.
        """
        self._known.told(error.shards)
        self._tries += 1
        # At once the first time; while the number is being changed, or the shards tell different ones, after a pause.
        at_once = self._tries == 1 and error.shards not in (0, made_for)
        pause = 0.0 if at_once else random.uniform(0, min(LAST_PAUSE, FIRST_PAUSE * 2**self._tries))
        if time.monotonic() + pause >= self._deadline:
            raise error
        return pause


Cut = tuple[int, list[int], int]
"""What will go out in one call: its shard, the places of its writes in the caller's order, and its bytes."""
Chunk = tuple[int, list[int], Group]
"""The same, packed."""


class Many:
    """The writes of one ``put_many``: in chunks of one shard each, in order for every key.

    While Redis works on a chunk, `meanwhile` makes the receipts of the one before and packs the next.
    """

    def __init__(self, writes: Sequence[Checked]) -> None:
        self._writes = writes
        self._receipts: list[Receipt | None] = [None] * len(writes)
        self._told: list[tuple[list[int], Group, Accepted]] = []
        self._rest: Iterator[Cut] = iter(())
        self._next_cut: Cut | None = None
        self._ahead: Chunk | None = None

    def chunks(self, count: int) -> Iterator[Chunk]:
        """What is to be sent to so many shards. After an OtherShards it is asked anew. One write that is larger than a
        call makes a chunk of its own.
        """
        self._note()
        self._ahead, self._next_cut, self._rest = None, None, self._cut(count)
        return iter(self._next, None)

    def meanwhile(self) -> None:
        """What can be done before the answer to the chunk under way is read. Done again, it does nothing.

        One body that is larger than a call is left for later: hashing it takes long, and this call's time limit runs.
        """
        self._note()
        if self._ahead is None:
            self._next_cut = self._next_cut or next(self._rest, None)
            if self._next_cut is not None and self._next_cut[2] <= MAX_CALL_BYTES:
                self._ahead = self._next()

    def told(self, places: list[int], chunk: Group, accepted: Accepted) -> None:
        """A chunk was accepted. Its receipts are made when there is time, or they are asked for."""
        self._told.append((places, chunk, accepted))

    def accepted(self, places: Sequence[int], receipts: Sequence[Receipt]) -> None:
        for place, receipt in zip(places, receipts, strict=True):
            self._receipts[place] = receipt

    def failed(self, error: PenstockError) -> PenstockError:
        """The error with the receipts of what was accepted before it."""
        error.receipts = tuple(self.receipts)
        return error

    @property
    def receipts(self) -> list[Receipt]:
        """Of what was accepted so far, in the caller's order."""
        self._note()
        return [receipt for receipt in self._receipts if receipt is not None]

    def _next(self) -> Chunk | None:
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            return ahead
        cut = self._next_cut or next(self._rest, None)
        self._next_cut = None
        return None if cut is None else (cut[0], cut[1], [pack(self._writes[place]) for place in cut[1]])

    def _note(self) -> None:
        for places, chunk, accepted in self._told:
            self.accepted(places, receipts(accepted, chunk))
        self._told.clear()

    def _cut(self, count: int) -> Iterator[Cut]:
        open_: list[list[int]] = [[] for _ in range(count)]
        sizes = [0] * count
        for at, write in enumerate(self._writes):
            if self._receipts[at] is not None:
                continue
            cost = cost_of(write)
            shard = shard_of(write[0], count) if count > 1 else 0
            places = open_[shard]
            if places and (len(places) == MAX_CALL_WRITES or sizes[shard] + cost > MAX_CALL_BYTES):
                yield shard, places, sizes[shard]
                open_[shard], sizes[shard] = [], 0
            open_[shard].append(at)
            sizes[shard] += cost
        for shard, places in enumerate(open_):
            if places:
                yield shard, places, sizes[shard]
