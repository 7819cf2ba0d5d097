"""What all contenders are made of: calls as lines of JSON on stdin, answers on stdout, and the timing of both verbs.

``enqueue`` hands one write over after another, from one thread or from several; ``drain`` sends a backlog to the sink.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from benchmarks.bodies import BODY, bodies
from benchmarks.timing import percentiles, timed

REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
ENDPOINT_URL = os.environ.get("BENCH_ENDPOINT_URL", "http://127.0.0.1:9000")
THREADS = 12
"""Of whatever sends to the store: Penstock's own default concurrency."""
WARM_CALLS = 50
STOP_SECONDS = 15.0

Put = Callable[[str, bytes], object]
"""Key and body: hands one write over, or sends it."""


def serve(**verbs: Callable[..., object]) -> None:
    """Answers calls until stdin ends. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        arguments: dict[str, Any] = json.loads(line)
        answer = verbs[arguments.pop("verb")](**arguments)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def enqueue_verb(put: Put) -> Callable[..., dict[str, object]]:
    """``enqueue(count, threads=1)``: writes/s and percentiles of a call in µs; the times too, of one thread."""
    texts = bodies(BODY)

    def call(number: int) -> object:
        return put(f"put/{number}.json", texts[number % len(texts)])

    def enqueue(count: int, threads: int = 1) -> dict[str, object]:
        timed(call, WARM_CALLS)
        if threads == 1:
            began = time.perf_counter()
            times = timed(call, count)
            seconds = time.perf_counter() - began
            return {"writes_per_second": count / seconds, "percentiles": percentiles(times), "times": times}
        seconds, times = in_threads(call, count, threads)
        return {"writes_per_second": count / seconds, "percentiles": percentiles(times)}

    return enqueue


def in_threads(call: Callable[[int], object], count: int, threads: int) -> tuple[float, list[float]]:
    """Seconds for all ``count`` calls, which ``threads`` threads share evenly, and µs of each call."""
    times: list[float] = []
    each = count // threads
    started = threading.Barrier(threads + 1)

    def work(thread: int) -> None:
        started.wait()
        own = timed(lambda number: call(thread * each + number), each)
        times.extend(own)

    team = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for one in team:
        one.start()
    started.wait()
    began = time.perf_counter()
    for one in team:
        one.join()
    if len(times) != each * threads:
        raise RuntimeError("calls failed; stderr says why")
    return (time.perf_counter() - began) * count / (each * threads), times


def pool_drain(put: Put, prepare: Callable[[bytes], bytes] = bytes) -> Callable[..., float]:
    """``drain(count, size)``: PUTs/s of ``THREADS`` threads that share ``put``; a tenth more warms them before."""

    def drain(count: int, size: int = BODY) -> float:
        texts = [prepare(text) for text in bodies(size)]

        def send(total: int) -> float:
            numbers = itertools.count()
            failed: list[BaseException] = []

            def work() -> None:
                try:
                    while (number := next(numbers)) < total:
                        put(f"t/{number % 100}/{number}.json", texts[number % len(texts)])
                except BaseException as error:
                    failed.append(error)
                    raise

            team = [threading.Thread(target=work) for _ in range(THREADS)]
            began = time.perf_counter()
            for one in team:
                one.start()
            for one in team:
                one.join()
            if failed:
                raise failed[0]
            return total / (time.perf_counter() - began)

        send(max(THREADS, count // 10))
        return send(count)

    return drain


@contextmanager
def worker_process(command: Sequence[str], extra: Mapping[str, str] | None = None) -> Iterator[None]:
    """A peer's own worker, with all that it forks, while the context lasts. Its log goes to stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **(extra or {})},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it forked, if it left any
        process.wait()
