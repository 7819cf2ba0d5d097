"""Which shard a write goes to, as far as a producer knows. Shared by threads and asyncio; no I/O here.

A producer counts with one shard until the queue tells it another number, so a queue with one costs no further question.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from penstock.errors import PenstockError
from penstock.queue.commit import Group
from penstock.queue.enqueue import MAX_CALL_BYTES, MAX_CALL_WRITES, OtherShards, Prepared
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


class Many:
    """The writes of one ``put_many``: in chunks of one shard each, in order for every key."""

    def __init__(self, writes: Sequence[Prepared]) -> None:
        self._writes = writes
        self._receipts: list[Receipt | None] = [None] * len(writes)

    def chunks(self, count: int) -> Iterator[tuple[int, list[int], Group]]:
        """What is to be sent to so many shards: shard, places in the caller's order, writes. After an OtherShards it is
        asked anew. One write that is larger than a call makes a chunk of its own.
        """
        open_: list[list[int]] = [[] for _ in range(count)]
        sizes = [0] * count
        for at, write in enumerate(self._writes):
            if self._receipts[at] is not None:
                continue
            shard = shard_of(write.name, count) if count > 1 else 0
            places = open_[shard]
            if places and (len(places) == MAX_CALL_WRITES or sizes[shard] + write.cost > MAX_CALL_BYTES):
                yield shard, places, [self._writes[place] for place in places]
                open_[shard], sizes[shard] = [], 0
            open_[shard].append(at)
            sizes[shard] += write.cost
        for shard, places in enumerate(open_):
            if places:
                yield shard, places, [self._writes[place] for place in places]

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
        return [receipt for receipt in self._receipts if receipt is not None]
