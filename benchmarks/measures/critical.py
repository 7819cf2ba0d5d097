"""How long a critical write takes from accepted to stored, beside a backlog and a worker that has all to do."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import chain

from benchmarks.bodies import BUCKET, bodies
from benchmarks.measures.draining import CONTENT_TYPE
from benchmarks.processes import ProcessError, wait_until
from benchmarks.rounds import Curve, Figure, Measure, Result, Run
from benchmarks.timed_sink import TimedSink, open_timed_sink
from benchmarks.timing import percentile, percentiles
from penstock import Producer
from penstock.queue.sharded import AnyQueue

BACKLOG = 200_000
WRITES = 200
LEAST_PAUSE, MOST_PAUSE = 0.005, 0.035
"""Between two critical writes, seconds; uneven, so that they fall into step with nothing."""
WARM_SECONDS = 2.0
SPENT = 1.1
"""So many times the backlog are put, because the worker has begun with it before the first critical write."""
ALL_STORED_SECONDS = 60.0
ROUNDS = 3
TIMES_IDLE = 3.0
MARK = "critical/"
IDLE, BUSY = "idle queue", "beside a backlog"
QUEUES = {IDLE: "idle", BUSY: "busy"}
LATENCIES = ((0.0, ""), (0.03, ", 30 ms of latency at the store"))


@dataclass(slots=True)
class Scene:
    """Two queues, of which one has a backlog that is filled up again before each round."""

    run: Run
    backlog: int
    filled: int = 0

    def stored_after(self, sink: TimedSink, who: str) -> list[float]:
        """ms from a put's return to the store's answer, of each critical write.

        Raises:
            ProcessError: one was not stored, or the backlog was gone too early.
        """
        stack, accepted = self.run.stack, {}
        text, mark = bodies()[0], f"{MARK}{time.monotonic_ns()}"  # the sink remembers all rounds
        name = QUEUES[who]
        with stack.queue(name) as queue:
            if who == BUSY:
                self._fill_up(queue)
            with stack.worker(endpoint=sink.endpoint_url, queue=name) as worker:
                worker.wait_until_started()
                time.sleep(WARM_SECONDS)
                with Producer(stack.redis_url, queue=name, bucket=BUCKET) as producer:
                    for number in range(self.run.count(WRITES, WRITES // 10)):
                        key = f"{mark}/{number}"
                        producer.put(key, text, priority="critical", content_type=CONTENT_TYPE)
                        accepted[f"/{BUCKET}/{key}"] = time.monotonic()
                        time.sleep(random.uniform(LEAST_PAUSE, MOST_PAUSE))
                if who == BUSY and not queue.stats().ready["low"]:
                    raise ProcessError("the backlog was gone before the last critical write: it must be larger")
                every = accepted.keys()
                wait_until(lambda: every <= sink.answered().keys(), ALL_STORED_SECONDS, "critical writes are stored")
        stored = sink.answered()
        return [max(0.0, stored[path] - at) * 1000 for path, at in accepted.items()]

    def _fill_up(self, queue: AnyQueue) -> None:
        missing = max(0, int(SPENT * self.backlog) - queue.stats().items)
        self.run.stack.fill(missing, queue=QUEUES[BUSY], first=self.filled, priority="low", content_type=CONTENT_TYPE)
        self.filled += missing


def critical(run: Run) -> list[Result]:
    results = []
    run.stack.flush()
    scene = Scene(run, run.count(BACKLOG, BACKLOG // 10))
    for latency, where in LATENCIES:
        times: dict[str, list[list[float]]] = {IDLE: [], BUSY: []}
        with open_timed_sink(MARK, latency) as sink:
            rounds = min(run.rounds, ROUNDS)
            for number in range(rounds):
                for who in (IDLE, BUSY) if number % 2 else (BUSY, IDLE):
                    run.progress(f"critical writes{where}: {who}, round {number + 1} of {rounds}")
                    times[who].append(scene.stored_after(sink, who))
        name = f"critical write, accept to stored{where}"
        of = {
            percent: Figure(
                f"{name}, p{percent:g}",
                "ms",
                {who: [percentile(one, percent) for one in every] for who, every in times.items()},
            )
            for percent in (50.0, 99.0)
        }
        worst = of[99.0]
        ratio = worst.ratio(BUSY, IDLE)
        results.append(
            Result(
                f"{name}, p99 beside {scene.backlog:,} waiting low writes, against an idle queue",
                f"≤ {TIMES_IDLE:g} ×",
                f"{ratio:.1f} × ({worst.median(BUSY):,.1f} ms against {worst.median(IDLE):,.1f} ms)",
                ratio <= TIMES_IDLE,
                [worst, of[50.0]],
                f"p50: {of[50.0].median(BUSY):,.1f} ms against {of[50.0].median(IDLE):,.1f} ms",
                [Curve(f"{who}{where}", "ms", percentiles(list(chain(*every)))) for who, every in times.items()],
            )
        )
    run.stack.flush()
    return results


MEASURES = (
    Measure("critical", "a critical write's way from accepted to stored beside 200,000 waiting low writes", critical),
)
