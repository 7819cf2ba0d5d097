"""Is anybody uploading, and are they all of one version?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from penstock.queue.workers import WorkerSeen, seen
from penstock_worker.cli.common import in_seconds
from penstock_worker.doctor.base import Check, Finding, ok, warning
from penstock_worker.doctor.site import Site

STOP_SLACK = 30.0
"""Seconds: a stop takes its time limit, and some more until everything is closed."""


def workers(site: Site) -> Finding:
    found = seen(site.queue())
    alive = [worker for worker in found if worker.is_alive]
    silent = [worker for worker in found if not worker.is_alive]
    lost = ""
    if silent:
        last = silent[0]
        lost = f"; {len(silent):,} fell silent within the hour, the last one {in_seconds(last.age)} ago: {_name(last)}"
    if not alive:
        remedy = "start `penstock worker`, or see in its log why it ended"
        return warning(f"none is alive, so nothing is uploaded{lost}", remedy)
    problems = list(_problems(alive, site.settings.stop_timeout + STOP_SLACK))
    versions = Counter(worker.facts.version for worker in alive)
    what = f"{len(alive):,} alive, {'version' if len(versions) == 1 else 'versions'} {_listed(versions)}"
    if problems:
        return warning("; ".join([what, *[problem for problem, _ in problems]]) + lost, "; ".join(_remedies(problems)))
    return ok(what + lost)


def _problems(alive: list[WorkerSeen], stop_seconds: float) -> Iterator[tuple[str, str]]:
    """What is wrong with those that are alive, and the remedy."""
    if len({worker.facts.version for worker in alive}) > 1:
        yield "not of one version", "finish the upgrade"
    for worker in alive:
        facts = worker.facts
        if facts.state == "unfit":
            yield f"{_name(worker)} claims nothing: its clock is wrong", "set its host's clock by NTP"
        elif facts.state == "stopping" and facts.state_seconds > stop_seconds:
            held = f"{facts.in_flight:,} write{'' if facts.in_flight == 1 else 's'}"
            yield (
                f"{_name(worker)} has been stopping for {in_seconds(facts.state_seconds)} and holds {held}",
                "see its log; a second SIGTERM makes it give back what it holds",
            )


def _remedies(problems: list[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(remedy for _, remedy in problems))


def _listed(versions: Counter[str]) -> str:
    if len(versions) == 1:
        return next(iter(versions))
    return ", ".join(f"{version} ({count:,})" for version, count in sorted(versions.items()))


def _name(worker: WorkerSeen) -> str:
    return f"{worker.facts.host}:{worker.facts.pid}"


WORKER_CHECKS = (Check("workers", workers),)
