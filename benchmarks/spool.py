"""What a spool costs: `put` with one beside without while Redis is well, `put` while it is away, and the replay.

    .venv/bin/python -m benchmarks.spool [--writes 3000] [--json FILE]

Rounds with and without are interleaved; on a shared machine compare ratios, and that of two producers without a spool,
which is the machine's noise. What `put` takes while Redis is away is what the disk takes to sync.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.bodies import BUCKET, json_body
from benchmarks.timing import p50
from penstock import Producer
from penstock.spool.look import spool_stats
from penstock_worker.demo.servers import RedisServer

ROUNDS = 9
THREADS = 8
LIMIT = 120.0


def measure_well(url: str, directory: str, count: int) -> dict[str, float]:
    """Medians, µs, and those of the rounds' ratios: with a spool beside without, and two without beside each other."""
    data = json_body()
    with (
        Producer(url, bucket=BUCKET) as plain,
        Producer(url, bucket=BUCKET, spool=directory) as spooling,
        Producer(url, bucket=BUCKET) as other,
    ):
        producers = {"without": plain, "with": spooling, "again": other}
        rounds: list[dict[str, float]] = []
        for producer in producers.values():
            producer.put("warm", data)
        for turn in range(ROUNDS):
            names = list(producers)
            order = names[turn % len(names) :] + names[: turn % len(names)]  # none is always the first after another
            took = {name: p50(partial(_put, producers[name], data), count) for name in order}
            rounds.append(took)
    found = {f"{name}_p50_us": statistics.median(took[name] for took in rounds) for name in producers}
    found["ratio"] = statistics.median(took["with"] / took["without"] for took in rounds)
    found["ratio_of_two_without"] = statistics.median(took["again"] / took["without"] for took in rounds)
    return found


def _put(producer: Producer, data: bytes, number: int) -> None:
    producer.put(f"put/{number}", data)


def _times(call: Callable[[int], object], count: int, threads: int) -> list[float]:
    def timed(number: int) -> float:
        began = time.perf_counter()
        call(number)
        return (time.perf_counter() - began) * 1e3

    with ThreadPoolExecutor(threads) as pool:
        return sorted(pool.map(timed, range(count)))


def measure_away(server: RedisServer, directory: str, count: int) -> dict[str, float]:
    """ms of a put while Redis is away, after the first, and writes a second of the replay."""
    data = json_body()
    found: dict[str, float] = {}
    with Producer(server.url, bucket=BUCKET, timeout=0.5, spool=directory) as producer:
        server.kill()
        producer.put("first", data)
        for threads in (1, THREADS):
            times = _times(lambda number: producer.put(f"away/{number}", data), count, threads)
            found |= {
                f"away_{threads}_threads_p50_ms": times[len(times) // 2],
                f"away_{threads}_threads_p99_ms": times[int(len(times) * 0.99)],
            }
        left = spool_stats(directory, "default").writes
        server.start()
        began = time.monotonic()
        while (now := spool_stats(directory, "default").writes) == left:
            time.sleep(0.001)
        began, left = time.monotonic(), now
        while spool_stats(directory, "default").writes and time.monotonic() < began + LIMIT:
            time.sleep(0.01)
        found["replayed_writes_per_second"] = left / (time.monotonic() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory) / "redis") as server:
        found = measure_well(server.url, f"{directory}/spool", given.writes)
        found |= measure_away(server, f"{directory}/spool", given.writes)
    for name, value in found.items():
        print(f"{name:32} {value:12,.2f}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
