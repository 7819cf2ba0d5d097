"""What a waiting write takes in Redis, and a backlog of large ones in the worker."""

from __future__ import annotations

import random

from benchmarks.bodies import BUCKET
from benchmarks.measures.draining import CONTENT_TYPE, PLENTY_OF_BYTES, PLENTY_OF_WRITES, watch
from benchmarks.processes import forget_peak
from benchmarks.rounds import Figure, Measure, Result, Run
from penstock import Producer, Write
from penstock_worker.settings import WorkerSettings

STRUCTURE_BYTES = 400
LEAST_BODY, MOST_BODY = 500, 1500
MIB = 1024**2
BESIDE_BUDGET = 150_000_000
ROUNDS = 3
SECONDS = 60.0


def of_redis(run: Run) -> list[Result]:
    """Beside body and key: bodies of 500 to 1,500 bytes, a content type, one tag."""
    stack, count = run.stack, run.count(50_000, 5_000)
    stack.flush()
    source = random.Random(count)
    with Producer(stack.redis_url, bucket=BUCKET) as producer:
        producer.put("warm", b"x")
        before = stack.client.info("memory")["used_memory"]
        writes = [
            Write(
                key=f"reports/2026/11/{number:08d}.json",
                body=source.randbytes(source.randint(LEAST_BODY, MOST_BODY)),
                content_type=CONTENT_TYPE,
                tags={"ttl_days": "7"},
            )
            for number in range(count)
        ]
        producer.put_many(writes)
        after = stack.client.info("memory")["used_memory"]
    payload = sum(len(bytes(write.body)) + len(write.key) for write in writes)
    stack.flush()
    each = (after - before - payload) / count
    return [
        Result(
            "Redis memory of a waiting write beside body and key",
            f"≤ {STRUCTURE_BYTES} bytes",
            f"{each:,.0f} bytes",
            each <= STRUCTURE_BYTES,
            [Figure("Redis memory of a waiting write", "bytes", {"penstock": [each]})],
        )
    ]


def of_a_worker(run: Run) -> list[Result]:
    """The most that a worker ever had resident while it drained bodies of 1 MiB."""
    stack, count = run.stack, run.count(600, 60)
    allowed = WorkerSettings().memory_budget + BESIDE_BUDGET
    peaks: list[float] = []
    for number in range(min(run.rounds, ROUNDS)):
        run.progress(f"a worker's memory with bodies of 1 MiB, round {number + 1}")
        stack.flush()
        with stack.queue() as queue, stack.worker() as worker:
            queue.configure(items=PLENTY_OF_WRITES, size=PLENTY_OF_BYTES)
            worker.wait_until_started()
            forget_peak(worker.pid)
            stack.fill(count, size=MIB, content_type=CONTENT_TYPE)
            watch(run, queue, [worker], SECONDS)
            peaks.append(float(worker.memory("VmHWM")))
    stack.flush()
    peak = max(peaks)
    return [
        Result(
            "worker memory, bodies of 1 MiB and a backlog, at most",
            f"≤ byte budget + {BESIDE_BUDGET // 10**6} MB = {allowed / 1e6:,.0f} MB",
            f"{peak / 1e6:,.0f} MB",
            peak <= allowed,
            [Figure("worker memory, bodies of 1 MiB", "MB", {"penstock": [one / 1e6 for one in peaks]})],
        )
    ]


MEASURES = (
    Measure("memory-redis", "bytes in Redis beside body and key of a waiting write", of_redis),
    Measure("memory-worker", "the most that a worker has resident with bodies of 1 MiB", of_a_worker),
)
