"""One worker process drains small writes: beside those that a user would take instead, and with a million waiting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.bodies import BODY
from benchmarks.measures.draining import CONTENT_TYPE, PLENTY_OF_BYTES, PLENTY_OF_WRITES, Drain, watch
from benchmarks.processes import PEERS_PYTHON
from benchmarks.rounds import Measure, Result, Run, interleave

US = "penstock"
ENGINE = "obstore_pool"
DRAMATIQ = ("dramatiq_actor", "dramatiq_cores")
CELERY = ("celery_prefork", "celery_threads")
PEERS = (*DRAMATIQ, *CELERY, "boto3_pool")

TIMES_DRAMATIQ = 20.0
TIMES_CELERY = 12.0
OF_ENGINE = 0.6

SECONDS = 3.0
LARGE = 1_000_000
SMALL = 10_000
OF_SMALL = 0.9


def against_peers(run: Run) -> list[Result]:
    peers = PEERS if PEERS_PYTHON.exists() else ()
    ours = Drain(run, run.count(40_000, 3_000), SECONDS)
    with ExitStack() as held:

        def drain_of(name: str, count: int) -> Callable[[], float]:
            contender = held.enter_context(run.stack.contender(name, own=not peers))

            def drain() -> float:
                run.stack.flush()
                return float(contender.call("drain", count=count, size=BODY))

            return drain

        contenders: dict[str, Callable[[], float]] = {US: ours, ENGINE: drain_of(ENGINE, run.count(20_000, 2_000))}
        contenders |= {name: drain_of(name, run.count(1_500, 100)) for name in peers}
        figure = interleave("drain, 1 KiB", "writes/s", contenders, run.rounds, run.progress)
    engine = figure.ratio(US, ENGINE)
    rate = f"{figure.median(US):,.0f} writes/s"
    results = [
        Result(
            "drain, 1 KiB, against bare obstore",
            f"≥ {OF_ENGINE} ×",
            f"{engine:.2f} × ({rate})",
            engine >= OF_ENGINE,
            [figure, ours.cost_figure("drain, 1 KiB: CPU time a write")],
            ours.costs(),
        )
    ]
    if not peers:
        return results
    for who, kinds, least in (("dramatiq + boto3", DRAMATIQ, TIMES_DRAMATIQ), ("Celery + boto3", CELERY, TIMES_CELERY)):
        times = {kind: figure.ratio(US, kind) for kind in kinds}
        value = ", ".join(f"{ratio:.1f} × ({kind}: {figure.median(kind):,.0f})" for kind, ratio in times.items())
        hardest = min(times.values())
        results.append(
            Result(f"drain, 1 KiB, against {who}", f"≥ {least:g} × the better of two", value, hardest >= least)
        )
    return results


def with_a_backlog(run: Run) -> list[Result]:
    """The same number of writes drained with many waiting and with no more than these."""
    large, small = run.count(LARGE, 4 * SMALL), run.count(SMALL, SMALL // 4)
    stack = run.stack
    stack.flush()
    with ExitStack() as held:
        of = {name: held.enter_context(stack.queue(name)) for name in ("large", "small")}
        for queue in of.values():
            queue.configure(items=PLENTY_OF_WRITES, size=PLENTY_OF_BYTES)
        run.progress(f"fills a queue with {large:,} writes")
        stack.fill(large, queue="large", content_type=CONTENT_TYPE)

        def drain_of(name: str) -> Callable[[], float]:
            def drain() -> float:
                queue = of[name]
                if name == "small":
                    stack.fill(small, queue=name, content_type=CONTENT_TYPE)
                with stack.worker(queue=name) as worker:
                    return watch(run, queue, [worker], SECONDS, down_to=queue.stats().items - small).rate

            return drain

        contenders = {f"{large:,} waiting": drain_of("large"), f"{small:,} waiting": drain_of("small")}
        figure = interleave("drain beside a backlog", "writes/s", contenders, run.rounds, run.progress)
    stack.flush()
    one, other = contenders
    ratio = figure.ratio(one, other)
    value = f"{ratio:.2f} × ({figure.median(one):,.0f} writes/s)"
    return [Result(f"drain with {one}, against {small:,}", f"≥ {OF_SMALL} ×", value, ratio >= OF_SMALL, [figure])]


MEASURES = (
    Measure(
        "drain", "one worker process drains 1 KiB writes, beside dramatiq, Celery and the bare engine", against_peers
    ),
    Measure("drain-backlog", "the same with 1,000,000 writes waiting, against 10,000", with_a_backlog),
)
