"""What the benchmark of a large queue does to it: as producers, workers, operators and scrapes do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from penstock import Producer, Write
from penstock.queue import blocks, change, contested, dead, flows, look, workers
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.enqueue import MAX_CALL_WRITES
from penstock.queue.names import PRIORITIES
from penstock.queue.place import Question
from penstock.queue.results import Batch, ClaimReply, Failure, Outcome, Settlement

BUCKETS = ("first-bucket", "second-bucket")
OTHER_BUCKET = "third-bucket"
SECONDS = 60.0
SLOW_MICROS = 10_000
LEASE = 600.0
SHORT_LEASE = 0.05
ATTEMPTS = 8
PAGES = 400
"""Pages of a listing that would go on through the whole queue."""
FAILURE = Failure("unknown", "Timeout", None, "no answer in time")
ENDS = (Outcome.STORED, Outcome.RETRY, Outcome.RETRY_UNKNOWN, Outcome.MAYBE_SENT)


class MeasuredQueue(Queue):
    """Takes the CPU time of Redis beside each of its calls, of which there is only one at a time."""

    def __init__(self, client: redis.Redis, name: str, pid: int) -> None:
        super().__init__(client, name)
        self._clock_id = (~pid << 3) | 2  # Linux: clock_getcpuclockid(3) of another process
        self.slowest: dict[str, int] = {}
        self.calls: Counter[str] = Counter()
        self.slow: Counter[str] = Counter()

    def run(self, name: str, *args: Any) -> Any:
        with self.measured(name):
            return super().run(name, *args)

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        before = time.clock_gettime_ns(self._clock_id)
        yield
        took = (time.clock_gettime_ns(self._clock_id) - before) // 1000
        self.slowest[name] = max(took, self.slowest.get(name, 0))
        self.calls[name] += 1
        self.slow[name] += took > SLOW_MICROS


class Load:
    """The steps, in order; each goes on with what the one before has left."""

    def __init__(self, url: str, pid: int, writes: int, tenants: int) -> None:
        self._url = url
        self._writes = writes
        self._tenants = tenants
        self.queue = MeasuredQueue(open_client(url, SECONDS), "default", pid)
        self._tokens = (f"token-{number}" for number in range(10**9))

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        yield "fill", self._fill
        yield "scrape", self._scrape
        yield "list", self._list
        yield "claim and settle", self._work
        yield "dead letters", self._bury
        yield "pause and resume", self._pause
        yield "scrape", self._scrape
        yield "purge", self._purge

    def _fill(self) -> None:
        """Chunks of 256 writes of 256 tenants: the most that one call may bring."""
        with Producer(self._url, timeout=SECONDS) as producer:
            for first in range(0, self._writes, MAX_CALL_WRITES):
                chunk = [
                    Write(
                        key=f"reports/2026/11/{number:08}.json",
                        body=b"%d" % number,
                        bucket=BUCKETS[number // self._tenants % 2],
                        tenant=f"tenant-{number % self._tenants}",
                        priority=PRIORITIES[number % 97 % 4],
                    )
                    for number in range(first, min(first + MAX_CALL_WRITES, self._writes))
                ]
                with self.queue.measured("enqueue"):
                    producer.put_many(chunk)

    def _scrape(self) -> None:
        for number in range(100):
            self.queue.stats()
            flows.oldest(self.queue)
            workers.beat(self.queue, f"worker-{number}", workers.Facts())
            workers.seen(self.queue)

    def _list(self) -> None:
        """The whole, and some pages with each filter; what is delayed or parked comes in the steps that make it so."""
        self._claim(batches=12)
        for page in look.steps(self.queue, look.Filter()):
            del page
        for where in (
            look.Filter(state=look.State.READY, bucket=BUCKETS[0], tenant="tenant-0"),
            look.Filter(state=look.State.INFLIGHT),
            look.Filter(prefix="x"),
            look.Filter(tenant="tenant-1"),
            look.Filter(bucket=BUCKETS[1]),
            look.Filter(priority="low"),
        ):
            self._look(where)

    def _claim(self, batches: int = 1, items: int = 25, lease: float = LEASE) -> ClaimReply:
        tokens = [next(self._tokens) for _ in range(batches)]
        return self.queue.claim(
            tokens, lease=lease, max_items=items, max_bytes=2**30, max_wait=0, budget=2**30, holds_none=True
        )

    def _settle(self, batch: Batch, outcome: Outcome, delay: float = 0.0) -> None:
        failure = None if outcome is Outcome.STORED else FAILURE
        ends = [Settlement(write.name, outcome, delay=delay, failure=failure) for write in batch.writes]
        self.queue.settle(batch.token, ends, max_attempts=ATTEMPTS)

    def _work(self) -> None:
        """Batches of every size are renewed and settled, with all outcomes; a caller waits for one of the writes."""
        for turn in range(600):
            batches = self._claim(batches=1 + turn % 12, items=(25, 100, 1000)[turn % 3]).batches
            self.queue.renew([batch.token for batch in batches], lease=LEASE, max_age=900)
            for batch in batches:
                write = batch.writes[0]
                self._settle(batch, ENDS[turn % 7 % 4], turn % 5)
                question = Question.of(write.name, write.seq)
                self.queue.run("place", question.name, question.seq, question.after, question.cursor, question.newer)
            self.queue.sweep(max_attempts=ATTEMPTS)
        self._look(look.Filter(state=look.State.DELAYED))
        contested.due(self.queue, hold=60, busy=5)

    def _look(self, where: look.Filter) -> None:
        for _ in zip(range(PAGES), look.steps(self.queue, where), strict=False):
            pass

    def _bury(self) -> None:
        """Dead letters by the thousand: listed, put back, removed; parked ones when there is no more room."""
        for _ in range(200):
            for batch in self._claim(batches=4, items=100).batches:
                self._settle(batch, Outcome.DEAD)
        seqs = [letter.seq for page in dead.pages(self.queue, dead.DeadFilter()) for letter in page]
        self.queue.retry_dead(seqs[: len(seqs) // 2], force=True)
        for at in range(len(seqs) // 2, len(seqs) * 3 // 4, dead.PURGE_STEP):
            dead.purge(self.queue, seqs[at : at + dead.PURGE_STEP])
        self.queue.configure(dead_size=1)
        for _ in range(50):
            for batch in self._claim(batches=4, items=100).batches:
                self._settle(batch, Outcome.DEAD)
        self._look(look.Filter(state=look.State.PARKED))
        self.queue.sweep(max_attempts=ATTEMPTS)
        self.queue.configure(dead_size=2**28)
        while self.queue.stats().parked:
            self.queue.sweep(max_attempts=ATTEMPTS)

    def _pause(self) -> None:
        """Both buckets' flows are set aside by claims, another bucket's are worked on, and all come back."""
        for bucket in BUCKETS:
            blocks.block(self.queue, bucket, None)
        while self._claim().wait is not None:
            pass
        self._work_on_deletes()
        for bucket in BUCKETS:
            blocks.unblock(self.queue, bucket, None)

    def _work_on_deletes(self) -> None:
        """Claims of a thousand, the largest there are: given back, settled, taken back from a worker that died."""
        for tenants in (1, self._tenants):
            with Producer(self._url, bucket=OTHER_BUCKET, timeout=SECONDS) as producer:
                for number in range(6000):
                    producer.delete(f"deletes/{number}", priority="critical", tenant=f"tenant-{number % tenants}")
            for _ in range(3):
                for batch in self._claim(batches=3, items=1000).batches:
                    self._look(look.Filter(state=look.State.INFLIGHT))
                    names = [write.name for write in batch.writes]
                    self.queue.release(batch.token, max_attempts=ATTEMPTS, sent=names)
            for outcome in ENDS:
                for batch in self._claim(batches=3, items=1000).batches:
                    self._settle(batch, outcome)
            for items in (1000, 1000, *[25] * 40):
                self._claim(items=items, lease=SHORT_LEASE)
            time.sleep(2 * SHORT_LEASE)
            while self.queue.sweep(max_attempts=ATTEMPTS).more:
                pass

    def _purge(self) -> None:
        for page in look.pages(self.queue, look.Filter(), whole=True):
            change.purge(self.queue, page)
