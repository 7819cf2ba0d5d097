"""A producer as a busy application has it: all priorities, hot keys, deletes, texts and pictures, two buckets."""

from __future__ import annotations

import json
import random
import threading
import time
from types import TracebackType
from typing import Self

from penstock import Producer, QueueFull, QueueUnavailable, Write

MAIN, SECOND = "reports", "archive"
"""Buckets."""
TICK = 0.05
"""Seconds between two handfuls of writes."""
PRIORITIES = {"critical": 4, "high": 16, "normal": 55, "low": 25}
HOT_SHARE, HOT_KEYS = 0.4, 60
"""So many of the writes go to so many keys: they coalesce."""
DELETE_SHARE = 0.08
SECOND_SHARE = 0.15
PICTURE_SHARE = 0.1
"""Bodies that do not shrink."""
TAGS = {"owner": "nobody"}
"""Of bad writes, for a store that refuses tags."""
END_LIMIT = 60.0


class MixedLoad:
    """Writes from entering to `stop`, about ``rate`` a second, which may be changed meanwhile; as may ``bad_share``.

    One thread of its own; the attributes may be set from any. ``full`` counts handfuls that met a full queue.
    """

    def __init__(self, url: str, queue: str, rate: float, seed: int = 1) -> None:
        self.rate = rate
        self.bad_share = 0.0
        self.full = 0
        self._dice = random.Random(seed)
        self._count = 0
        self._producer = Producer(url, queue=queue, bucket=MAIN, timeout=5.0)
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mixed-load", daemon=True)

    def _run(self) -> None:
        owed, before = 0.0, time.monotonic()
        try:
            while not self._ended.wait(TICK):
                now = time.monotonic()
                owed += min(now - before, 1.0) * self.rate
                before = now
                self._hand_over(int(owed))
                owed -= int(owed)
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._producer.close()

    def _hand_over(self, count: int) -> None:
        deletes = sum(self._dice.random() < DELETE_SHARE for _ in range(count))
        try:
            self._producer.put_many([self._write() for _ in range(count - deletes)])
            for _ in range(deletes):
                gone = self._dice.randrange(max(1, self._count))
                self._producer.delete(f"one/{gone}", bucket=self._bucket(gone))
        except QueueFull:
            self.full += 1
        except QueueUnavailable:
            pass  # the next handful tries again

    def _write(self) -> Write:
        dice = self._dice
        self._count += 1
        if dice.random() < HOT_SHARE:
            number = dice.randrange(HOT_KEYS)
            key = f"hot/{number}"
        else:
            number = self._count
            key = f"one/{number}"
        (priority,) = dice.choices(list(PRIORITIES), list(PRIORITIES.values()))
        tags = TAGS if dice.random() < self.bad_share else None
        return Write(key=key, body=self._body(), bucket=self._bucket(number), priority=priority, tags=tags)

    @staticmethod
    def _bucket(number: int) -> str:
        """A key is always in the same one."""
        return SECOND if number % 100 < 100 * SECOND_SHARE else MAIN

    def _body(self) -> bytes:
        size = self._dice.randrange(500, 6000)
        if self._dice.random() < PICTURE_SHARE:
            return self._dice.randbytes(size)
        lines = [{"line": number, "amount": self._dice.randrange(1000), "paid": True} for number in range(size // 45)]
        return json.dumps(lines).encode()

    def stop(self) -> None:
        """Returns when the last write is handed over."""
        self._ended.set()
        self._thread.join(END_LIMIT)
        assert self._failure is None, self._failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
