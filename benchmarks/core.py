"""The core's figures, side by side in one run: what a put costs, what a waiting write takes in Redis, and how fast one
worker drains, beside the bare engine and beside boto3 with a pool of threads.

    .venv/bin/python -m benchmarks.core [--writes 20000] [--json FILE]

Rounds are interleaved and the medians given: on a shared machine compare ratios, not figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import obstore
import redis
from botocore.config import Config
from obstore.store import S3Store

from benchmarks.sink import NginxSink
from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.demo.servers import RedisServer

THREADS = 12
BODY = 1024
BUCKET = "bench-bucket"
DRAIN_SECONDS = 300.0


def body() -> bytes:
    """A JSON-like body of 1 KiB that neither compresses to nothing nor is noise."""
    text = json.dumps({"id": random.getrandbits(64), "values": [random.getrandbits(24) for _ in range(120)]})
    return text.encode().ljust(BODY)[:BODY]


def p50(call: Callable[[int], object], count: int) -> float:
    """Median of one call, µs."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def measure_put(url: str, count: int) -> dict[str, float]:
    client = redis.Redis.from_url(url)
    data = body()
    with Producer(url, bucket=BUCKET) as producer:
        producer.put("warm", data)
        rounds = [
            (
                p50(lambda _: client.rpush("list", data), count),
                p50(lambda number: producer.put(f"put/{number}", data, content_type="application/json"), count),
            )
            for _ in range(5)
        ]
    client.flushall()
    rpush, put = (statistics.median(column) for column in zip(*rounds, strict=True))
    return {"rpush_p50_us": rpush, "put_p50_us": put, "ratio": statistics.median([b / a for a, b in rounds])}


def measure_memory(url: str, count: int) -> dict[str, float]:
    """Bytes in Redis beside body and key: bodies of 500 to 1,500 bytes, a content type, one tag."""
    client = redis.Redis.from_url(url)
    with Producer(url, bucket=BUCKET) as producer:
        producer.put("warm", b"x")
        before = client.info("memory")["used_memory"]
        writes = [
            Write(
                key=f"reports/2026/11/{number:08d}.json",
                body=os.urandom(random.randint(500, 1500)),
                content_type="application/json",
                tags={"ttl_days": "7"},
            )
            for number in range(count)
        ]
        producer.put_many(writes)
        after = client.info("memory")["used_memory"]
    payload = sum(len(bytes(write.body)) + len(write.key) for write in writes)
    client.flushall()
    return {"structure_bytes_per_write": (after - before - payload) / count}


def drain_worker(url: str, endpoint: str, writes: int) -> float:
    """Writes/s of one worker process with default settings, from a full queue to an empty one."""
    queue = Queue(open_client(url, 10), "default")
    with Producer(url, bucket=BUCKET) as producer:
        producer.put_many(Write(key=f"p/{number % 100}/{number}", body=body()) for number in range(writes))
    environment = {
        **os.environ,
        "PENSTOCK_REDIS_URL": url,
        "PENSTOCK_S3_ENDPOINT_URL": endpoint,
        "PENSTOCK_S3_REGION": "us-east-1",
        "PENSTOCK_SIDECAR_PORT": "0",
        "PENSTOCK_LOG_LEVEL": "warning",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    command = [sys.executable, "-c", "from penstock_worker.cli import main; main()", "worker"]
    worker = subprocess.Popen(command, env=environment)
    try:
        began: tuple[float, int] | None = None
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            now, left = time.perf_counter(), queue.stats().items
            if began is None and left < writes:  # it has started; what it did before counts for neither side
                began = now, left
            if left == 0 and began is not None:
                return began[1] / (now - began[0])
            time.sleep(0.02)
        raise SystemExit("the worker did not drain the queue")
    finally:
        worker.terminate()
        worker.wait(timeout=60)


def drain_threads(put: Callable[[str, bytes], object], writes: int) -> float:
    data = [body() for _ in range(min(writes, 2000))]
    with ThreadPoolExecutor(THREADS) as pool:
        began = time.perf_counter()
        list(pool.map(lambda number: put(f"t/{number % 100}/{number}", data[number % len(data)]), range(writes)))
        return writes / (time.perf_counter() - began)


def obstore_put(endpoint: str) -> Callable[[str, bytes], object]:
    store = S3Store(
        BUCKET,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="testing",
        secret_access_key="testing",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
        checksum_algorithm="SHA256",
    )
    return lambda key, data: obstore.put(store, key, data, use_multipart=False)


def boto3_put(endpoint: str) -> Callable[[str, bytes], object]:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(max_pool_connections=THREADS, s3={"addressing_style": "path"}),
    )
    return lambda key, data: client.put_object(Bucket=BUCKET, Key=key, Body=data)


def measure_drain(url: str, endpoint: str, writes: int) -> dict[str, float]:
    rounds: dict[str, list[float]] = {"worker": [], "obstore": [], "boto3": []}
    bare, boto = obstore_put(endpoint), boto3_put(endpoint)
    for _ in range(3):
        rounds["worker"].append(drain_worker(url, endpoint, writes))
        rounds["obstore"].append(drain_threads(bare, writes))
        rounds["boto3"].append(drain_threads(boto, min(writes, 2000)))
    medians = {f"{name}_writes_per_second": statistics.median(values) for name, values in rounds.items()}
    return medians | {
        "worker_to_obstore": statistics.median(
            [a / b for a, b in zip(rounds["worker"], rounds["obstore"], strict=True)]
        ),
        "worker_to_boto3": statistics.median([a / b for a, b in zip(rounds["worker"], rounds["boto3"], strict=True)]),
    }


def measure_import(module: str) -> float:
    """Milliseconds to import a module in a fresh interpreter, the interpreter's own start taken off; the best of 7."""
    program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(7)]
    return min(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "import_ms": {"penstock": measure_import("penstock"), "redis": measure_import("redis")},
    }
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as server, NginxSink() as sink:
        info = redis.Redis.from_url(server.url).info("server")
        result["redis"] = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
        result["memory"] = measure_memory(server.url, 50_000)
        result["put"] = measure_put(server.url, 2_000)
        result["drain"] = measure_drain(server.url, sink.endpoint_url, arguments.writes)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
