"""What a run found, with the machine it ran on: as JSON, and as the tables of the terminal and of the documents."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.rounds import Curve, Figure, Result
from benchmarks.stack import Stack

FORM = 1
"""Of the file: another one is refused."""
QUIET = 0.7
"""Load average of a machine whose figures may be trusted."""
ANSWERS = {True: "yes", False: "**no**", None: "–"}


def machine(stack: Stack) -> dict[str, object]:
    """What figures depend on, and nothing that names the machine."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "redis": stack.redis_name,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or "unknown"


def _commit() -> str | None:
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607 - whichever git there is
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def describe(stack: Stack, results: list[Result], *, quick: bool, load: float) -> dict[str, Any]:
    """All of a run, ready for JSON. ``load``: the machine's load average before it."""
    return {
        "form": FORM,
        "machine": machine(stack),
        "date": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": _commit(),
        "quick": quick,
        "sink": stack.sink_name,
        "sink_limit": stack.sink_limit,
        "load_before": round(load, 2),
        "results": [asdict(result) for result in results],
    }


def results_of(report: dict[str, Any]) -> list[Result]:
    """The results of what `describe` made. Raises ValueError when it is something else."""
    if report.get("form") != FORM:
        raise ValueError(f"not a report of `python -m benchmarks` in form {FORM}: run it again with --json")
    return [
        Result(
            **{
                **entry,
                "figures": [Figure(**one) for one in entry["figures"]],
                "curves": [
                    Curve(one["who"], one["unit"], [(percent, value) for percent, value in one["points"]])
                    for one in entry["curves"]
                ],
            }
        )
        for entry in report["results"]
    ]


def conditions(report: dict[str, Any]) -> str:
    """The machine in a sentence."""
    found = report["machine"]
    limit = report["sink_limit"]
    taken = f", which takes {limit:,.0f} PUTs/s of 1 KiB from wrk" if limit else " (its limit is not known: no wrk)"
    return (
        f"{found['cores']} cores of {found['cpu']}, {found['memory_gib']:g} GiB, {found['system']}, "
        f"Python {found['python']}, {found['redis']} with AOF everysec; sink: {report['sink']}{taken}. "
        f"{report['date'][:10]}" + (f", commit {report['commit']}" if report["commit"] else "")
        + (f". Not a quiet machine: load {report['load_before']:g} before" if report["load_before"] > QUIET else "")
        + (". A quick run: do not trust its figures" if report["quick"] else "") + "."
    )  # fmt: skip
