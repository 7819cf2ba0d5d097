"""One worker process, and two, before a store that takes its time for each answer."""

from __future__ import annotations

from typing import Any

from benchmarks.measures.draining import Drain
from benchmarks.rounds import Measure, Result, Run, interleave

LATENCY = 0.03
CONCURRENCY = 128
OF_BOUND = 0.85
SECONDS = 3.0
ONE = "one process"
TWO = "two processes"


def concurrency_over_latency(run: Run) -> list[Result]:
    bound = CONCURRENCY / LATENCY
    with run.stack.latency(LATENCY) as endpoint:
        settings: dict[str, Any] = {"upload_concurrency": CONCURRENCY}
        ours = Drain(run, run.count(20_000, 3_000), SECONDS, endpoint=endpoint, settings=settings)
        figure = interleave("drain, 30 ms of latency", "writes/s", {"penstock": ours}, run.rounds, run.progress)
    share = figure.median("penstock") / bound
    return [
        Result(
            "drain with 30 ms of latency at the store, concurrency 128",
            f"≥ {OF_BOUND} of concurrency ÷ latency",
            f"{share:.2f} ({figure.median('penstock'):,.0f} of {bound:,.0f} writes/s)",
            share >= OF_BOUND,
            [figure, ours.cost_figure("drain, 30 ms of latency: CPU time a write")],
            ours.costs(),
        )
    ]


def two_processes(run: Run) -> list[Result]:
    """Where the store's latency is the limit, and where the machine is."""
    far = {"upload_concurrency": CONCURRENCY // 4, "upload_concurrency_max": CONCURRENCY // 4}
    results = []
    with run.stack.latency(LATENCY) as endpoint:
        for where, sink, settings in (("30 ms of latency", endpoint, far), ("no latency", None, {})):
            contenders = {
                who: Drain(
                    run, run.count(25_000, 2_500), SECONDS, workers=workers, endpoint=sink, settings=dict(settings)
                )
                for who, workers in ((ONE, 1), (TWO, 2))
            }
            figure = interleave(f"processes, {where}", "writes/s", contenders, run.rounds, run.progress)
            value = f"{figure.ratio(TWO, ONE):.2f} × ({figure.median(TWO):,.0f} writes/s)"
            results.append(Result(f"two worker processes against one, {where}", "reported", value, None, [figure]))
    return results


MEASURES = (
    Measure(
        "drain-far",
        "one worker process before a store with 30 ms of latency, concurrency 128",
        concurrency_over_latency,
    ),
    Measure("drain-two", "two worker processes against one", two_processes),
)
