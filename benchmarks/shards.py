"""What a write costs Redis, and so how many writes a second one shard takes.

By Redis's own CPU time, which what else runs on the machine changes little.

    .venv/bin/python -m benchmarks.shards [--writes 20000] [--json FILE]

Of a Redis that has a core for itself the ceiling is about a million µs divided by what a write costs it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import redis

from penstock import Producer, Write
from penstock.queue.reshard import reshard
from penstock.queue.results import Outcome, Settlement
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.demo.servers import RedisServer

BUCKET = "bench-bucket"
BODY = os.urandom(512) + bytes(512)
THREADS = 16
PLENTY = 2**30


def measured(client: redis.Redis, writes: int, work: Callable[[], object]) -> dict[str, float]:
    """Redis's µs a write, and writes/s with whatever else runs here."""

    def cpu() -> float:
        info = cast("dict[str, float]", client.info("cpu"))
        return info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"]

    before, began = cpu(), time.perf_counter()
    work()
    seconds, spent = time.perf_counter() - began, cpu() - before
    return {"redis_us_per_write": spent / writes * 1e6, "writes_per_second": writes / seconds}


def put_alone(producer: Producer, writes: int) -> None:
    for number in range(writes):
        producer.put(f"alone/{number}", BODY)


def put_each(producer: Producer, writes: int) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: producer.put(f"each/{number}", BODY), range(writes)))


def put_many(producer: Producer, writes: int) -> None:
    producer.put_many([Write(key=f"many/{number}", body=BODY) for number in range(writes)])


def end_all(queue: ShardedQueue, batch: int) -> None:
    for shard in queue.shards:
        while batches := shard.claim(
            ["token"], lease=60, max_items=batch, max_bytes=PLENTY, max_wait=0, budget=PLENTY, holds_none=True
        ).batches:
            settlements = [Settlement(write.name, Outcome.STORED) for write in batches[0].writes]
            shard.settle("token", settlements, max_attempts=8)


def measure(url: str, shards: int, writes: int) -> dict[str, Any]:
    clients = Clients(url, 30, f"bench-{shards}")
    queue = ShardedQueue(clients, f"bench-{shards}")
    reshard(queue, shards)
    client = queue.shards[0].client
    found: dict[str, Any] = {"shards": shards}
    with Producer(url, queue=queue.name, bucket=BUCKET, timeout=30) as producer:
        found["put, 1 thread"] = measured(client, writes, lambda: put_alone(producer, writes))
        end_all(queue, 1000)
        found["put, 16 threads"] = measured(client, writes, lambda: put_each(producer, writes))
        found["claim and settle, batches of 25"] = measured(client, writes, lambda: end_all(queue, 25))
        found["put_many"] = measured(client, writes, lambda: put_many(producer, writes))
        found["claim and settle, batches of 100"] = measured(client, writes, lambda: end_all(queue, 100))
    clients.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as server:
        info = redis.Redis.from_url(server.url).info("server")
        result: dict[str, Any] = {
            "redis": f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}",
            "rounds": [measure(server.url, shards, arguments.writes) for shards in (1, 3, 1, 3)],
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
