"""``wait``: when it looks again, and how it ends. Shared by threads and asyncio; no I/O here."""

from __future__ import annotations

import math
import random
import time
from typing import cast

import redis

from penstock.calls import Options, is_number
from penstock.errors import InvalidSetting, PenstockError, QueueUnavailable, WaitTimeout
from penstock.queue.connection import Fate, fate_of, translate
from penstock.queue.names import join_name, shard_of
from penstock.queue.place import Elsewhere, More, PlaceCodec, Question, Waiting, decode_place
from penstock.shards import ShardCount
from penstock.values import Outcome, Receipt, WaitResult

FIRST_PAUSE = 0.005
LAST_PAUSE = 0.1
GROWTH = 1.5
JITTER = 0.25
"""Seconds between looks, and how they grow: a write that is stored at once is told of at once, and one that takes its
time costs Redis ten short looks a second."""

LAST_LOOK = 0.1
"""Seconds a look may take that begins when the time is up: without it a look would fail that Redis answers at once."""

IDLE_LINES = 4
"""Connections kept for the next looks; one a look under way, so that no caller waits for another's."""


class Wait:
    """One caller that waits for one write.

    Raises:
        InvalidSetting: the time limit is none, or the receipt names no write.
    """

    def __init__(self, options: Options, known: ShardCount, receipt: object, timeout: object) -> None:
        if not is_number(timeout) or not math.isfinite(timeout) or timeout < 0:
            raise InvalidSetting(f"timeout={timeout!r}: seconds, 0 or more (0 looks once)")
        if not isinstance(receipt, Receipt) or not receipt.key:
            raise InvalidSetting("wait takes a receipt as put, put_many or delete returned it")
        if receipt.spooled:
            raise InvalidSetting(
                f"{join_name(receipt.bucket, receipt.key)} lies in the spool and has no number yet: a spooled write "
                "cannot be waited for, see docs/spool.md"
            )
        self._url = options.url
        self._queue = options.queue
        self._known = known
        self._what = join_name(receipt.bucket, receipt.key)
        self._question = Question.of(self._what.encode(), receipt.seq)
        self._seq = receipt.seq
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._pause = FIRST_PAUSE
        self._loaded: set[tuple[int, int]] = set()
        self._asked = (0, 1)
        self._turns = 0
        self._lost = False
        self._state: str | None = None
        self._error: redis.RedisError | None = None

    def shard(self) -> tuple[int, int]:
        """Whom the next look asks: a shard, and of how many."""
        shards = self._known.shards
        if shards != self._asked[1]:  # what another shard has told says nothing to this one
            self._question = Question.of(self._what.encode(), self._seq)
        self._asked = shard_of(self._what.encode(), shards), shards
        return self._asked

    def look(self) -> tuple[bytes, int, float]:
        """The next call: its bytes, the number of its replies, and by when they must be there (``time.monotonic``)."""
        codec = PlaceCodec.for_shard(self._queue, *self._asked)
        command, replies = codec.encode(self._question, with_script=self._asked in self._loaded)
        return command, replies, max(self._deadline, time.monotonic() + LAST_LOOK)

    def answered(self, answer: object) -> WaitResult | float:
        """The result, or seconds until the next look.

        Raises:
            WaitTimeout: the time is up.
        """
        self._error = None
        if not isinstance(answer, list):
            return self.failed(redis.exceptions.InvalidResponse("an answer that is none of Penstock's"))
        place = decode_place(answer, self._question)
        if isinstance(place, Elsewhere):
            return self._turned(place)
        self._lost = False
        if isinstance(place, Waiting):
            self._question, self._state = place.again, place.state
            return self._next()
        if isinstance(place, More):
            self._question = place.again
            return 0.0
        return WaitResult(cast("Outcome", place.outcome), place.failure)

    def _turned(self, place: Elsewhere) -> float:
        self._known.told(place.shards)
        self._lost = True
        self._turns += 1
        # At once the first time; while the number is being changed, or the shards tell different ones, after a pause.
        return 0.0 if self._turns == 1 and place.shards else self._next()

    def failed(self, error: redis.RedisError) -> float:
        """Seconds until the next look: Redis may be away for a moment.

        Raises:
            QueueUnavailable, QueueMismatch: looking again does not help, or the time is up.
        """
        fate = fate_of(error)
        if fate is Fate.NO_SCRIPT and self._asked not in self._loaded:
            self._loaded.add(self._asked)
            return 0.0
        self._error = error
        if fate not in (Fate.BROKEN, Fate.REFUSED):
            raise self._over() from error
        return self._next()

    def _next(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._over() from self._error
        pause = self._pause * random.uniform(1 - JITTER, 1 + JITTER)
        self._pause = min(LAST_PAUSE, self._pause * GROWTH)
        return min(pause, left)

    def _over(self) -> PenstockError:
        if self._error is not None:
            return translate(self._error, self._url, maybe_accepted=True)
        if self._lost:
            text = (
                "the queue's number of shards is being changed, or its shards do not agree about it: wait again later"
            )
            return QueueUnavailable(text, maybe_accepted=True)
        return WaitTimeout(self._what, self._state or "ready", self._timeout)


def closed() -> QueueUnavailable:
    """The error of a wait on a closed producer; what it waited for goes on."""
    return QueueUnavailable("the producer is closed: make a new one, and wait there", maybe_accepted=True)
