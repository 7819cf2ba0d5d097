"""The requests of each bucket wait in a line of its own for their turn, so that a bucket gets as many as it bears.

Threads are shared by all buckets and never wait for a place: a line has as many as its `Limit` allows, each takes one
request after the other, and one that is not needed any more ends. Only a pace makes a thread sleep.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from penstock_worker.concurrency import Limit
from penstock_worker.stores import ErrorClass, StoreFault
from penstock_worker.stores.faults import TIMEOUT

log = structlog.get_logger()


class Ended(NamedTuple):
    """How a request ended that began at ``began`` (time.monotonic).

    ``size``: bytes that were sent, or None when its time says nothing of the store.
    """

    began: float
    size: int | None
    fault: StoreFault | None


Job = Callable[[], Ended | None]
"""A request, or a step before it; returns how it ended, or None when nothing was sent. It must not raise."""

URGENT_IN_A_ROW = 8
"""Then another one has its turn, as in the queue: nothing starves (promise 6)."""

MAX_IDLE_LINES = 1000
"""Above so many buckets the idle ones are forgotten, and begin anew when they are used."""


@dataclass(slots=True, eq=False)
class _Line:
    limit: Limit
    jobs: deque[Job] = field(default_factory=deque)
    urgent: deque[Job] = field(default_factory=deque)
    threads: int = 0
    in_a_row: int = 0
    taken: int = 0  # turns that threads have taken and wait for: the pace's next ones are for others

    def waiting(self) -> int:
        return len(self.urgent) + len(self.jobs) - self.taken

    def next(self) -> Job:
        if self.urgent and (self.in_a_row < URGENT_IN_A_ROW or not self.jobs):
            self.in_a_row += 1
            return self.urgent.popleft()
        self.in_a_row = 0
        return self.jobs.popleft()


class Turns:
    """All buckets' lines. Safe to share between threads.

    Args:
        start: requests at once to a bucket that nothing is known of.
        most: requests at once to a bucket, and to all of them: the number of threads.
        aborting: once set, no request waits for its pace any more.
    """

    def __init__(self, start: int, most: int, aborting: threading.Event) -> None:
        self._start = start
        self._most = most
        self._aborting = aborting
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="penstock-upload")
        # It never ends, so that something does the work where no other can be started; see `_feed`.
        self._pool.submit(int).result()
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        self._hungry: deque[_Line] = deque()  # they could use more threads than there are
        self._threads = 0

    def submit(self, bucket: str, jobs: Iterable[Job], urgent: Iterable[Job] = ()) -> None:
        """Runs each of these soon, in their order, on threads of its own; urgent ones before others, nearly always."""
        with self._lock:
            line = self._line(bucket)
            line.urgent.extend(urgent)
            line.jobs.extend(jobs)
            self._feed(line)

    def record(self, bucket: str, ended: Ended) -> None:
        """How a request ended that was not a job's last."""
        with self._lock:
            _record(self._line(bucket).limit, ended, time.monotonic())

    def limits(self) -> dict[str, int]:
        """Requests that may be in flight to each bucket that was used lately."""
        with self._lock:
            return {bucket: line.limit.requests for bucket, line in self._lines.items()}

    def in_use(self) -> int:
        """Requests that may be in flight to the buckets that something is under way to."""
        with self._lock:
            return sum(line.limit.requests for line in self._lines.values() if line.threads)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _line(self, bucket: str) -> _Line:
        line = self._lines.get(bucket)
        if line is None:
            if len(self._lines) >= MAX_IDLE_LINES:
                self._lines = {name: one for name, one in self._lines.items() if one.waiting() or one.threads}
            line = self._lines[bucket] = _Line(Limit(self._start, self._most, time.monotonic()))
        return line

    def _feed(self, line: _Line) -> None:
        """Gives a line the threads that it may have and needs."""
        for _ in range(min(line.limit.allowed() - line.threads, line.waiting())):
            if self._threads >= self._most:
                if line not in self._hungry:
                    self._hungry.append(line)
                return
            line.threads += 1
            self._threads += 1
            try:
                self._pool.submit(self._run, line)
            except RuntimeError as error:
                # No thread can be started (a limit of processes or memory); the pool has noted the work, and one that
                # is free later does it. A job that was taken before must be done whatever becomes of this.
                log.warning("no_upload_thread", error=str(error), remedy="raise the limit of processes and threads")
                if line not in self._hungry:  # others' threads give way to it
                    self._hungry.append(line)
                return

    def _run(self, line: _Line) -> None:
        ended: Ended | None = None
        gives_way = False  # not before it has done something: else they would give way to each other for ever
        while True:
            with self._lock:
                now = time.monotonic()
                if ended is not None:
                    _record(line.limit, ended, now)
                if not self._goes_on(line, gives_way):
                    return
                turn = line.limit.turn(now)
                job = line.next() if turn <= now else None
                if job is None:
                    line.taken += 1
                if line.waiting():
                    if job is not None and line.threads >= line.limit.allowed():
                        line.limit.reached()
                    self._feed(line)
            if job is None:
                self._aborting.wait(turn - now)
                with self._lock:  # not before: what became urgent meanwhile goes first
                    line.taken -= 1
                    job = line.next()
            ended = job()
            gives_way = True

    def _goes_on(self, line: _Line, gives_way: bool) -> bool:
        """Whether a thread takes another job; else it is not counted any more."""
        if line.waiting() and line.threads <= line.limit.allowed() and not (gives_way and self._hungry):
            return True
        line.threads -= 1
        self._threads -= 1
        if self._hungry:
            # All threads are in use: a line gives one away and asks for one behind the others.
            self._feed(self._hungry.popleft())
            self._feed(line)
        return False


def _record(limit: Limit, ended: Ended, now: float) -> None:
    began, size, fault = ended
    if fault is None:
        limit.stored(now, began, size)
    elif fault.error_class is ErrorClass.THROTTLE:
        limit.throttled(now)
    elif fault.code == TIMEOUT and size is not None:
        limit.late(now, began, size)
