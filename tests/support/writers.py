"""Producers that write on and on to keys of all kinds: fresh, again and again, hot and shared; puts and deletes."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from types import TracebackType
from typing import Any, Self

from penstock import NotDurable, Producer, QueueFull, QueueUnavailable
from penstock.queue.names import PRIORITIES
from tests.support.fault_s3 import FaultS3
from tests.support.ledger import Ledger
from tests.support.oracle import Oracle
from tests.support.producers import AnyProducer
from tests.support.wait import wait_until
from tests.support.worker import BUCKET

TIMEOUT = 5.0
"""Seconds: the time limit of a call, as it is without a setting."""
PACE = 0.004  # seconds between two writes of a producer: the machine has to carry workers, Redis and S3 as well
PAUSE = 0.1  # seconds after a refusal
END_LIMIT = 60.0
LIMIT = 60.0
"""Seconds, against hangs only."""

HOT_PREFIX = "hot"
HOT_KEYS = 4
"""All producers write to them, so that they are nearly always waiting or in flight. Of each prefix."""
OWN_KEYS = 40
FRESH_KEYS = 2000
HOT, OWN = 0.2, 0.7
"""Shares: hot keys, keys of the producer's own; what is left is fresh keys."""
DELETES = 0.12
LARGE = 0.01
LARGE_BYTES = 70_000  # a key of its own in Redis
TENANTS = ("", "", "a", "b")


REASONS = {
    "LOADING": "loading",
    "READONLY": "read only replica",
    "OOM": "maxmemory",
    "BUSY": "BUSY",
    "MISCONF": "MISCONF",
    "no connection": "connecting to",
    "cut off": "closed|reset by peer|Broken pipe",
    "no answer": "Timeout|no answer|did not answer",
}
"""What Redis's side of an error was, by a pattern of its text."""


def reason_of(error: QueueUnavailable | NotDurable) -> str:
    """An error in short, for a table: its reason, and whether the write may have been accepted."""
    text = str(error)
    reason = next((name for name, pattern in REASONS.items() if re.search(pattern, text)), text)
    doubt = ", maybe accepted" if isinstance(error, QueueUnavailable) and error.maybe_accepted else ""
    return f"{type(error).__name__} ({reason}{doubt})"


class _Writer(threading.Thread):
    def __init__(
        self,
        number: int,
        producer: AnyProducer,
        ledger: Ledger,
        buckets: Sequence[str],
        hot: Sequence[str],
        seed: int,
    ) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self._number = number
        self._producer = producer
        self._ledger = ledger
        self._buckets = buckets
        self._hot = hot
        self._dice = random.Random(seed * 1000 + number)
        self._count = 0
        self.pace = PACE
        self.ended = threading.Event()
        self.abandoned = False
        self.full = 0
        self.errors: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ended.wait(self.pace):
                self._write(self._dice.choice(self._buckets), self._key())
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._producer.close()

    def _key(self) -> str:
        share = self._dice.random()
        if share < HOT:
            number, at = divmod(self._dice.randrange(HOT_KEYS * len(self._hot)), len(self._hot))
            return f"{self._hot[at]}/{number}"
        if share < OWN:
            return f"{self._number}/own/{self._dice.randrange(OWN_KEYS)}"
        return f"{self._number}/fresh/{self._count % FRESH_KEYS}"

    def _write(self, bucket: str, key: str) -> None:
        """One write; while Redis is away, to the same key until one is accepted, so that its last is known."""
        while not self.abandoned:
            self._count += 1
            try:
                self._send(bucket, key)
            except (QueueUnavailable, NotDurable) as error:
                self.errors[reason_of(error)] += 1
                time.sleep(PAUSE)  # also once it is to end: the last write has to be known
            except QueueFull:
                self.full += 1
                self.ended.wait(PAUSE)
                return
            else:
                return

    def _send(self, bucket: str, key: str) -> None:
        dice = self._dice
        tenant, priority = dice.choice(TENANTS), dice.choice(PRIORITIES)
        if dice.random() < DELETES:
            self._ledger.delete(self._producer, key, bucket=bucket, tenant=tenant, priority=priority)
            return
        size = LARGE_BYTES if dice.random() < LARGE else int(dice.expovariate(1 / 500))
        body = f"{bucket}/{key} {self._number}-{self._count} ".encode() + dice.randbytes(size)
        self._ledger.put(self._producer, key, body, bucket=bucket, tenant=tenant, priority=priority)


class Writers:
    """Several producers that write between entering and `stop`. ``seed`` decides keys, sizes and order of each.

    ``first``: the number of the first, which names its own keys; ``hot``: prefixes of the keys that all write to;
    ``pace``: seconds between two writes of one; ``kinds``: of the producers, by turns.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        ledger: Ledger,
        *,
        producers: int = 2,
        buckets: Sequence[str] = (BUCKET,),
        seed: int = 0,
        durability: str = "memory",
        timeout: float = TIMEOUT,
        spool: str | None = None,
        first: int = 0,
        hot: Sequence[str] = (HOT_PREFIX,),
        pace: float = PACE,
        kinds: Sequence[type[AnyProducer]] = (Producer,),
    ) -> None:
        settings: dict[str, Any] = {"queue": queue, "bucket": BUCKET, "durability": durability, "timeout": timeout}
        self._writers = [
            _Writer(number, kind(url, **settings, spool=spool), ledger, buckets, hot, seed)
            for number, kind in zip(range(first, first + producers), cycle(kinds), strict=False)
        ]
        for writer in self._writers:
            writer.pace = pace

    @property
    def full(self) -> int:
        """Writes that the queue had no room for."""
        return sum(writer.full for writer in self._writers)

    @property
    def errors(self) -> Counter[str]:
        """What callers were told, how often."""
        return sum((writer.errors for writer in self._writers), Counter())

    def stop(self) -> None:
        """Returns when each has had its last write accepted."""
        for writer in self._writers:
            writer.ended.set()
        for writer in self._writers:
            writer.join(END_LIMIT)
            assert not writer.is_alive(), "a producer hangs"
            assert writer.failure is None, writer.failure

    def __enter__(self) -> Self:
        for writer in self._writers:
            writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers:
            writer.abandoned = kind is not None  # nobody will look at what was accepted last
        self.stop()


def wait_for_more(store: FaultS3, oracle: Oracle, writes: int) -> None:
    """Returns when so many more were accepted, and so many have landed."""
    landed, accepted = store.landed + writes, oracle.ledger.count + writes
    wait_until(lambda: store.landed >= landed and oracle.ledger.count >= accepted, LIMIT, "the load goes on")
