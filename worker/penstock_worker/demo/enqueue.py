"""The producing side: several threads that share one Producer, as request handlers do."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TypeVar

from penstock import PenstockError, Producer, QueueFull, Receipt
from penstock.values import Write
from penstock_worker.demo.files import read_file
from penstock_worker.demo.plan import Fate, Task, draft

T = TypeVar("T")

THREADS = 4
BULK_WRITES = 100
BULK_BYTES = 512 * 1024
"""A put_many of at most so much is one chunk, which is accepted as a whole."""
FULL_SECONDS = 60.0
"""How long a full queue is waited for; the worker makes room all the time."""
FULL_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Obligation:
    """What must be in S3 in the end: by key, the file's SHA-256 and the content type, or None for no object."""

    sha256: str
    content_type: str
    tags: int


@dataclass(slots=True)
class Enqueued:
    """What was accepted. ``call_seconds``: each ``put`` and ``delete``; a ``put_many`` is no such call."""

    expected: dict[str, Obligation | None] = field(default_factory=dict)
    call_seconds: list[float] = field(default_factory=list)
    receipts: int = 0
    coalesced: int = 0
    full: int = 0
    file_bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Feeder:
    """Enqueues all tasks. ``check`` is called before each call and may raise to end it all.

    Raises what the producer raises; a full queue is waited for first.
    """

    def __init__(self, producer: Producer, tasks: list[Task], max_bytes: int, check: Callable[[], None]) -> None:
        self._producer = producer
        self._tasks = tasks
        self._max_bytes = max_bytes
        self._check = check
        self._lock = Lock()
        self.result = Enqueued()

    def run(self) -> Enqueued:
        began = time.perf_counter()
        singly = [task for task in self._tasks if not task.bulk]
        bulk = list(_bulks(task for task in self._tasks if task.bulk))
        # The second pass begins when the first has ended: it overwrites and deletes what the first has put.
        self._spread(
            [partial(self._first_together, tasks) for tasks in bulk] + [partial(self._first, task) for task in singly]
        )
        late = [task for task in self._tasks if task.fate in (Fate.OVERWRITTEN, Fate.DELETED_LATE)]
        self._spread([partial(self._second, task) for task in late])
        self.result.seconds = time.perf_counter() - began
        return self.result

    def _spread(self, works: Sequence[Callable[[], None]]) -> None:
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="demo-producer")
        try:
            for future in [pool.submit(work) for work in works]:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    # -- one file -----------------------------------------------------------------------------------------------

    def _first(self, task: Task) -> None:
        body = self._read(task)
        if body is None:
            return
        if task.fate is Fate.DRAFTED:
            self._put_many([task.put(draft(body)), task.put(body)])
            return
        self._put(task, draft(body) if task.fate is Fate.OVERWRITTEN else body)
        if task.fate is Fate.DELETED:
            self._delete(task)

    def _first_together(self, tasks: list[Task]) -> None:
        writes: list[Write] = []
        deleted: list[Task] = []
        for task in tasks:
            body = self._read(task)
            if body is None:
                continue
            if task.fate in (Fate.DRAFTED, Fate.OVERWRITTEN):
                writes.append(task.put(draft(body)))
            if task.fate is not Fate.OVERWRITTEN:
                writes.append(task.put(body))
            if task.fate is Fate.DELETED:
                deleted.append(task)
        self._put_many(writes)
        for task in deleted:
            self._delete(task)

    def _second(self, task: Task) -> None:
        if task.source.key not in self.result.expected:
            return  # skipped the first time
        if task.fate is Fate.DELETED_LATE:
            self._delete(task)
            return
        body = self._read(task)
        if body is None:
            raise PenstockError(f"{task.source.path} went away while the demo ran")
        self._put(task, body)

    def _read(self, task: Task) -> bytes | None:
        """The file's bytes, with the obligation that comes of them."""
        body, reason = read_file(task.source, self._max_bytes)
        with self._lock:
            if reason is not None:
                self.result.skipped[reason] += 1
                return None
            if task.source.key not in self.result.expected:
                self.result.file_bytes += len(body)
            gone = task.fate in (Fate.DELETED, Fate.DELETED_LATE)
            self.result.expected[task.source.key] = (
                None if gone else Obligation(hashlib.sha256(body).hexdigest(), task.content_type, len(task.tags))
            )
        return body

    # -- calls --------------------------------------------------------------------------------------------------

    def _put(self, task: Task, body: bytes) -> None:
        def call() -> Receipt:
            return self._producer.put(
                task.source.key,
                body,
                priority=task.priority,
                content_type=task.content_type,
                tags=task.tags,
                tenant="demo",
            )

        self._timed(call)

    def _delete(self, task: Task) -> None:
        self._timed(lambda: self._producer.delete(task.source.key, priority=task.priority, tenant="demo"))

    def _put_many(self, writes: list[Write]) -> None:
        receipts, _ = self._when_there_is_room(lambda: self._producer.put_many(writes))
        self._count(receipts, ())

    def _timed(self, call: Callable[[], Receipt]) -> None:
        receipt, seconds = self._when_there_is_room(call)
        self._count([receipt], (seconds,))

    def _when_there_is_room(self, call: Callable[[], T]) -> tuple[T, float]:
        """What the call returned and its seconds, without those that a full queue was waited for."""
        deadline = time.monotonic() + FULL_SECONDS
        while True:
            self._check()
            began = time.perf_counter()
            try:
                return call(), time.perf_counter() - began
            except QueueFull:
                if time.monotonic() >= deadline:
                    raise
                with self._lock:
                    self.result.full += 1
            time.sleep(FULL_POLL_SECONDS)

    def _count(self, receipts: list[Receipt], seconds: Iterable[float]) -> None:
        with self._lock:
            self.result.receipts += len(receipts)
            self.result.coalesced += sum([receipt.coalesced for receipt in receipts])
            self.result.call_seconds.extend(seconds)


def _bulks(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Groups that are one chunk of put_many each."""
    group: list[Task] = []
    writes = size = 0
    for task in tasks:
        # Twice, for the draft; and a kilobyte for what else a write takes.
        cost = 2 * task.source.size + 1024
        if group and (writes + task.writes > BULK_WRITES or size + cost > BULK_BYTES):
            yield group
            group, writes, size = [], 0, 0
        group.append(task)
        writes, size = writes + task.writes, size + cost
    if group:
        yield group
