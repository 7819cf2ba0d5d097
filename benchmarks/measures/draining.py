"""Workers that drain what waits: how many writes a second, and what CPU time a write takes of whom."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.bodies import BODY
from benchmarks.processes import ProcessError, Worker, cpu_seconds
from benchmarks.rounds import Figure, Run
from penstock.queue import blocks
from penstock.queue.sharded import AnyQueue

WARM_SECONDS = 1.0
"""From the first write that is gone, or until one in `WARM_PART` is: connections are made. It counts for nobody."""
WARM_PART = 5
LOOK_SECONDS = 0.02
STUCK_SECONDS = 120.0
CONTENT_TYPE = "application/json"
PLENTY_OF_WRITES = 4_000_000
PLENTY_OF_BYTES = 16 * 1024**3
"""The queue's limits, so that no measure meets them."""


@dataclass(frozen=True, slots=True)
class Drained:
    """``worker_us`` and ``redis_us``: CPU time a write, of all workers together and of Redis."""

    rate: float
    worker_us: float
    redis_us: float


class _Look(NamedTuple):
    at: float
    left: int
    worker: float
    redis: float


def watch(run: Run, queue: AnyQueue, workers: Sequence[Worker], seconds: float, down_to: int = 0) -> Drained:
    """A drain that is about to begin, from when it is warm for ``seconds``, or until no more than ``down_to`` are left.

    Raises:
        ProcessError: it does not get on.
    """
    first = queue.stats().items

    def look() -> _Look:
        spent = sum(worker.cpu_seconds() for worker in workers)
        return _Look(time.perf_counter(), max(down_to, queue.stats().items), spent, cpu_seconds(run.stack.redis_pid))

    def when(condition: Callable[[_Look], bool], what: str) -> _Look:
        now = look()
        deadline = now.at + STUCK_SECONDS
        while not condition(now):
            if now.at > deadline:
                raise ProcessError(f"waited {STUCK_SECONDS:g} s in vain: {what}")
            time.sleep(LOOK_SECONDS)
            now = look()
        return now

    start = when(lambda now: now.left < first, "the queue goes down")
    warm = first - (first - down_to) // WARM_PART
    began = when(lambda now: now.left <= warm or now.at >= start.at + WARM_SECONDS, "the worker warms up")
    ended = when(lambda now: now.left <= down_to or now.at >= began.at + seconds, "the queue is drained")
    done, lasted = max(1, began.left - ended.left), ended.at - began.at
    return Drained(done / lasted, (ended.worker - began.worker) / done * 1e6, (ended.redis - began.redis) / done * 1e6)


@dataclass(slots=True)
class Drain:
    """A contender of rounds: each call fills the queue, and has workers with these ``settings`` drain it.

    Args:
        count: writes that wait; the drain is watched for ``seconds`` at most.
        workers: how many processes. They start before the queue is filled, and begin together.
        endpoint: another sink than the stack's.
    """

    run: Run
    count: int
    seconds: float
    size: int = BODY
    workers: int = 1
    endpoint: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seen: list[Drained] = field(default_factory=list)

    def __call__(self) -> float:
        stack = self.run.stack
        stack.flush()
        with ExitStack() as held:
            queue = held.enter_context(stack.queue())
            queue.configure(items=PLENTY_OF_WRITES, size=PLENTY_OF_BYTES)
            blocks.block(queue, None, None)
            workers = [
                held.enter_context(stack.worker(endpoint=self.endpoint, **self.settings)) for _ in range(self.workers)
            ]
            for worker in workers:
                worker.wait_until_started()
            stack.fill(self.count, size=self.size, content_type=CONTENT_TYPE)
            blocks.unblock(queue, None, None)
            self.seen.append(watch(self.run, queue, workers, self.seconds))
        stack.flush()
        return self.seen[-1].rate

    def costs(self) -> str:
        """Medians, as a part of a note."""
        worker = statistics.median(one.worker_us for one in self.seen)
        redis = statistics.median(one.redis_us for one in self.seen)
        return f"CPU time a write: {worker:,.0f} µs of the worker, {redis:,.0f} µs of Redis"

    def cost_figure(self, name: str) -> Figure:
        """The same as a figure."""
        return Figure(
            name,
            "µs",
            {"worker": [one.worker_us for one in self.seen], "Redis": [one.redis_us for one in self.seen]},
        )
