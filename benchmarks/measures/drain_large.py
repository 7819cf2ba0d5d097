"""One worker process drains JSON of 64 KiB and of 1 MiB, beside what must be done to each: compressed, and sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import zstandard

from benchmarks.bodies import bodies
from benchmarks.measures.draining import Drain
from benchmarks.processes import Contender
from benchmarks.rounds import Figure, Measure, Result, Run, interleave
from penstock_worker.compress import LEVEL

US = "penstock"
ZSTD = "zstd alone"
ENGINE = "obstore, compressed bodies"
OF_SMALLER = 0.6
SECONDS = 3.0
KIB = 1024
SIZES = ((64 * KIB, "64 KiB", 6_000, 400), (1024 * KIB, "1 MiB", 500, 40))
"""Bytes, their name, and writes in full and in quick rounds."""


def _compressed(size: int, seconds: float) -> float:
    """Bodies/s of zstd on all cores."""
    texts = bodies(size)
    ends = time.perf_counter() + seconds

    def compress(_: int) -> int:
        compressor = zstandard.ZstdCompressor(level=LEVEL)
        done = 0
        while time.perf_counter() < ends:
            compressor.compress(texts[done % len(texts)])
            done += 1
        return done

    threads = os.cpu_count() or 1
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(compress, range(threads))) / (time.perf_counter() - began)


def _sent(run: Run, engine: Contender, count: int, size: int) -> float:
    """PUTs/s of the engine alone, with bodies that were compressed before."""
    run.stack.flush()
    return float(engine.call("drain", count=count, size=size, compress=True))


def large_bodies(run: Run) -> list[Result]:
    results = []
    for size, name, full, quick in SIZES:
        count = run.count(full, quick)
        ours = Drain(run, count, SECONDS, size=size)
        with run.stack.contender("obstore_pool", own=True) as engine:
            contenders: dict[str, Callable[[], float]] = {
                US: ours,
                ZSTD: partial(_compressed, size, run.count(2, 1)),
                ENGINE: partial(_sent, run, engine, count, size),
            }
            figure = interleave(f"drain, {name}", "writes/s", contenders, run.rounds, run.progress)
        smaller = [min(pair) for pair in zip(figure.values[ZSTD], figure.values[ENGINE], strict=True)]
        share = Figure("", "", {US: figure.values[US], "smaller": smaller}).ratio(US, "smaller")
        megabytes = figure.median(US) * size / 1e6
        results.append(
            Result(
                f"drain, {name} of JSON, against the smaller of zstd and bare obstore",
                f"≥ {OF_SMALLER} ×",
                f"{share:.2f} × ({figure.median(US):,.0f} writes/s, {megabytes:,.0f} MB/s)",
                share >= OF_SMALLER,
                [figure, ours.cost_figure(f"drain, {name}: CPU time a write")],
                ours.costs(),
            )
        )
    return results


MEASURES = (Measure("drain-large", "one worker process drains JSON of 64 KiB and 1 MiB", large_bodies),)
