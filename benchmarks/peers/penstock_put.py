"""Penstock's producers, asked like the others; and Redis's part alone: the calls of a ``put_many``, sent bare."""

from __future__ import annotations

import asyncio
import time

import redis

from benchmarks.bodies import BODY, BUCKET, bodies
from benchmarks.peers.serve import REDIS_URL, WARM_CALLS, enqueue_verb, serve
from benchmarks.timing import percentiles
from penstock import AsyncProducer, Producer, Write
from penstock.calls import Caller, Options
from penstock.shards import Many
from penstock.values import DEFAULT_MAX_BODY_BYTES, DEFAULT_QUEUE

TIMEOUT = 30.0
CONTENT_TYPE = "application/json"


def many_writes(count: int) -> list[Write]:
    texts = bodies(BODY)
    return [
        Write(key=f"many/{number}.json", body=texts[number % len(texts)], content_type=CONTENT_TYPE)
        for number in range(count)
    ]


def tasks(count: int, tasks: int = 100) -> dict[str, object]:
    """The ``enqueue`` of `AsyncProducer`, from so many tasks at once."""
    texts = bodies(BODY)
    each = count // tasks
    times: list[float] = []

    async def work(producer: AsyncProducer, task: int) -> None:
        for number in range(task * each, task * each + each):
            began = time.perf_counter()
            await producer.put(f"task/{number}.json", texts[number % len(texts)], content_type=CONTENT_TYPE)
            times.append((time.perf_counter() - began) * 1e6)

    async def run() -> float:
        async with AsyncProducer(REDIS_URL, bucket=BUCKET, timeout=TIMEOUT) as producer:
            for number in range(WARM_CALLS):
                await producer.put(f"warm/{number}.json", texts[0], content_type=CONTENT_TYPE)
            began = time.perf_counter()
            await asyncio.gather(*(work(producer, task) for task in range(tasks)))
            return each * tasks / (time.perf_counter() - began)

    rate = asyncio.run(run())
    return {"writes_per_second": rate, "percentiles": percentiles(times)}


def many(count: int) -> float:
    """Writes/s of one ``put_many``, validation and packing included."""
    writes = many_writes(count)
    with Producer(REDIS_URL, bucket=BUCKET, timeout=TIMEOUT) as producer:
        producer.put_many(writes[:WARM_CALLS])
        began = time.perf_counter()
        producer.put_many(writes)
        return count / (time.perf_counter() - began)


def bare_calls(count: int) -> float:
    """Writes/s of the very calls that ``put_many`` makes of the same writes, packed before the clock starts and sent
    one after the other."""
    options = Options.make(REDIS_URL, DEFAULT_QUEUE, BUCKET, TIMEOUT, DEFAULT_MAX_BODY_BYTES, None, "memory")
    caller = Caller(options)
    writes = Many(caller.check_many(many_writes(count)))
    calls = [caller.encode([chunk]) for _, _, chunk in writes.chunks(1)]
    with Producer(REDIS_URL, bucket=BUCKET) as producer:
        producer.put_many(many_writes(WARM_CALLS))  # also has the script loaded
    client = redis.Redis.from_url(REDIS_URL, socket_timeout=TIMEOUT)
    connection = client.connection_pool.get_connection()
    began = time.perf_counter()
    for command, replies in calls:
        connection.send_packed_command((command,), check_health=False)
        for _ in range(replies):
            connection.read_response(disable_decoding=True)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    with Producer(REDIS_URL, bucket=BUCKET, timeout=TIMEOUT) as shared:
        serve(
            enqueue=enqueue_verb(lambda key, body: shared.put(key, body, content_type=CONTENT_TYPE)),
            tasks=tasks,
            many=many,
            bare_calls=bare_calls,
        )
