"""What a call to hand a write over costs, beside the same call of every peer and beside Redis's own part of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks.processes import Contender
from benchmarks.rounds import Curve, Measure, Result, Run, interleave
from benchmarks.timing import percentiles

LONE_FIGURE = "one call, 1 KiB, p50"
SHARED_FIGURE = "callers together, 1 KiB"
MANY_FIGURE = "many writes, 1 KiB"
"""Figures that are drawn, too."""

PENSTOCK = "Penstock put"
RPUSH = "bare RPUSH"
PEERS = {
    "dramatiq send": "dramatiq_actor",
    "Celery delay": "celery_prefork",
    "RQ enqueue": "rq_job",
    "huey task": "huey_task",
}
UPLOAD = "boto3 put_object"
"""No queue, and no peer of an enqueue: what a caller pays who uploads by himself."""
SLOW = {"Celery delay": 2, "RQ enqueue": 2, UPLOAD: 4}
"""These get so many times fewer calls, so that no round waits for them."""

LONE_ROUNDS = 15
"""Short rounds and many of them: a median of calls is steady, and the machine is not."""
SHARED_ROUNDS = 7
THREADS = 16
TASKS = 100

PUT_RATIO = 1.15
DRAMATIQ_TIMES = 5.0
MANY_RATE = 50_000.0
MANY_RATIO = 0.6
WAITING = 1_000_000
WAITING_RATIO = 1.1
PLENTY_OF_BYTES = 2**40


def _lone_calls(run: Run, contender: Contender, count: int, times: list[float]) -> Callable[[], float]:
    def measured() -> float:
        found: list[float] = contender.call("enqueue", count=count)["times"]
        times.extend(found)
        run.stack.flush()
        return statistics.median(found)

    return measured


def put_alone(run: Run) -> list[Result]:
    names = {RPUSH: "bare_redis", PENSTOCK: "penstock_put", **PEERS, UPLOAD: "boto3_pool"}
    count = run.count(500, 60)
    times: dict[str, list[float]] = {who: [] for who in names}
    with ExitStack() as held:
        contenders = {}
        for who, module in names.items():
            process = held.enter_context(run.stack.contender(module, own=who in (RPUSH, PENSTOCK)))
            contenders[who] = _lone_calls(run, process, count // SLOW.get(who, 1), times[who])
        figure = interleave(LONE_FIGURE, "µs", contenders, run.count(LONE_ROUNDS, 3), run.progress)
    ratio = figure.ratio(PENSTOCK, RPUSH)
    met = ratio <= PUT_RATIO and all(figure.ratio(PENSTOCK, peer) < 1 for peer in PEERS)
    others = ", ".join(f"{who} {figure.median(who):.0f}" for who in (RPUSH, *PEERS, UPLOAD))
    return [
        Result(
            measure="`put`, 1 KiB, one thread, p50",
            target=f"≤ {PUT_RATIO} × RPUSH's, below every peer's enqueue",
            value=f"{ratio:.2f} × RPUSH's: {figure.median(PENSTOCK):.0f} µs ({others})",
            met=met,
            figures=[figure],
            curves=[Curve(who, "µs", percentiles(found)) for who, found in times.items()],
            note="dramatiq and Celery send JSON with the body as base64, RQ and huey pickles.",
        )
    ]


def _rate(run: Run, ask: Callable[[], Any]) -> Callable[[], float]:
    def measured() -> float:
        found = ask()
        run.stack.flush()
        return float(found["writes_per_second"] if isinstance(found, Mapping) else found)

    return measured


def put_together(run: Run) -> list[Result]:
    stack = run.stack
    threads, tasks, dramatiq, rpush = (
        f"Penstock put, {THREADS} threads",
        f"Penstock AsyncProducer, {TASKS} tasks",
        f"dramatiq send, {THREADS} threads",
        f"bare RPUSH, {THREADS} threads",
    )
    with (
        stack.contender("penstock_put", own=True) as own,
        stack.contender("dramatiq_actor") as peer,
        stack.contender("bare_redis", own=True) as bare,
    ):
        many, few = run.count(16_000, 1_600), run.count(4_000, 800)
        contenders = {
            threads: _rate(run, lambda: own.call("enqueue", count=many, threads=THREADS)),
            dramatiq: _rate(run, lambda: peer.call("enqueue", count=few, threads=THREADS)),
            tasks: _rate(run, lambda: own.call("tasks", count=many, tasks=TASKS)),
            rpush: _rate(run, lambda: bare.call("enqueue", count=few, threads=THREADS)),
        }
        figure = interleave(SHARED_FIGURE, "writes/s", contenders, _shared_rounds(run), run.progress)
    return [
        Result(
            measure=f"{THREADS} threads that share one producer, 1 KiB",
            target=f"≥ {DRAMATIQ_TIMES:g} × dramatiq's send from {THREADS} threads",
            value=f"{figure.ratio(threads, dramatiq):.1f} ×: {figure.median(threads):,.0f} writes/s "
            f"(dramatiq {figure.median(dramatiq):,.0f}, RPUSH {figure.median(rpush):,.0f})",
            met=figure.ratio(threads, dramatiq) >= DRAMATIQ_TIMES,
            figures=[figure],
        ),
        Result(
            measure=f"`AsyncProducer`, {TASKS} tasks, 1 KiB",
            target=f"≥ the {THREADS} threads",
            value=f"{figure.ratio(tasks, threads):.2f} ×: {figure.median(tasks):,.0f} writes/s",
            met=figure.ratio(tasks, threads) >= 1,
        ),
    ]


def put_many(run: Run) -> list[Result]:
    count = run.count(50_000, 4_000)
    with run.stack.contender("penstock_put", own=True) as own:
        contenders = {
            "put_many": _rate(run, lambda: own.call("many", count=count)),
            "bare EVALSHA": _rate(run, lambda: own.call("bare_calls", count=count)),
        }
        figure = interleave(MANY_FIGURE, "writes/s", contenders, _shared_rounds(run), run.progress)
    rate, ratio = figure.median("put_many"), figure.ratio("put_many", "bare EVALSHA")
    return [
        Result(
            measure="`put_many`, 1 KiB",
            target=f"≥ {MANY_RATE:,.0f} writes/s, ≥ {MANY_RATIO} × one bare EVALSHA of the same chunks",
            value=f"{rate:,.0f} writes/s, {ratio:.2f} × ({figure.median('bare EVALSHA'):,.0f})",
            met=rate >= MANY_RATE and ratio >= MANY_RATIO,
            figures=[figure],
        )
    ]


def put_beside_backlog(run: Run) -> list[Result]:
    """Two servers at once, so that rounds can alternate: a backlog takes long to fill."""
    waiting, count = run.count(WAITING, 5_000), run.count(1_000, 100)
    stack = run.stack
    stack.flush()
    with stack.another() as full:
        with full.queue() as queue:
            queue.configure(items=2 * WAITING, size=PLENTY_OF_BYTES)
        run.progress(f"fills a queue with {waiting:,} writes")
        full.fill(waiting)
        full.settle_down()
        with stack.contender("penstock_put", own=True) as empty, full.contender("penstock_put", own=True) as beside:
            beside_name = f"{waiting:,} waiting"

            def median(contender: Contender) -> Callable[[], float]:
                return lambda: statistics.median(contender.call("enqueue", count=count)["times"])

            contenders = {"none waiting": median(empty), beside_name: median(beside)}
            figure = interleave("put beside a backlog, p50", "µs", contenders, run.count(LONE_ROUNDS, 3), run.progress)
    stack.flush()
    ratio = figure.ratio(beside_name, "none waiting")
    return [
        Result(
            measure=f"enqueue with {waiting:,} waiting against none",
            target=f"≤ {WAITING_RATIO} ×",
            value=f"{ratio:.2f} ×: {figure.median(beside_name):.0f} µs, {figure.median('none waiting'):.0f} µs",
            met=ratio <= WAITING_RATIO,
            figures=[figure],
        )
    ]


def _shared_rounds(run: Run) -> int:
    return run.count(SHARED_ROUNDS, 2)


MEASURES = (
    Measure("put", "one thread's put beside RPUSH and every peer's enqueue", put_alone),
    Measure("put-together", "16 threads and 100 tasks beside dramatiq's send from 16 threads", put_together),
    Measure("put-many", "put_many beside one bare EVALSHA of the same chunks", put_many),
    Measure("put-backlog", "put with 1,000,000 waiting beside put on an empty queue", put_beside_backlog),
)
