"""What a worker takes while it has nothing to do, and what of Redis while it has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress

from benchmarks.commands import script_names, seen_commands
from benchmarks.measures.draining import CONTENT_TYPE, PLENTY_OF_BYTES, PLENTY_OF_WRITES, watch
from benchmarks.processes import clean_environment
from benchmarks.rounds import Figure, Measure, Result, Run, interleave
from penstock_worker.settings import WorkerSettings

COMMANDS_PER_SECOND = 2.0
CPU_PERCENT = 0.5
RESIDENT_MB = 100.0
STARTED_SECONDS = 5.0
"""Until an idle worker is watched: what a start sets going has ended."""

ROUND_TRIPS = 2.0
BATCH_CALLS = ("claim", "settle", "release", "mget")
"""What a batch may need; the others are of duties that run by the clock."""

LONGEST_MS = 5.0
LARGEST_BODY = 16 * 1024**2
NOTED_MICROS = 100
HIGHEST_PRIORITY = -20
SECONDS = 60.0


def idle(run: Run) -> list[Result]:
    stack, seconds = run.stack, run.count(30, 4)
    stack.flush()
    with stack.worker() as worker:
        worker.wait_until_started()
        time.sleep(STARTED_SECONDS)
        with seen_commands(stack.redis_url) as commands:
            run.progress(f"an idle worker, for {seconds} s")
            began, spent = time.perf_counter(), worker.cpu_seconds()
            time.sleep(seconds)
            lasted, spent = time.perf_counter() - began, worker.cpu_seconds() - spent
        resident = worker.memory() / 1e6
    rate, percent = commands.total() / lasted, spent / lasted * 100
    every = ", ".join(f"{name} {count / lasted:.2f}/s" for name, count in commands.most_common())
    return [
        Result("idle worker: commands to Redis", f"≤ {COMMANDS_PER_SECOND:g}/s", f"{rate:.2f}/s",
               rate <= COMMANDS_PER_SECOND, [Figure("idle worker, commands", "1/s", {"penstock": [rate]})], every),
        Result("idle worker: CPU", f"≤ {CPU_PERCENT:g} %", f"{percent:.2f} %",
               percent <= CPU_PERCENT, [Figure("idle worker, CPU", "%", {"penstock": [percent]})]),
        Result("idle worker: resident", f"≤ {RESIDENT_MB:g} MB", f"{resident:.0f} MB",
               resident <= RESIDENT_MB, [Figure("idle worker, resident", "MB", {"penstock": [resident]})]),
    ]  # fmt: skip


def round_trips(run: Run) -> list[Result]:
    stack, batch = run.stack, WorkerSettings().batch_max_items
    batches = run.count(200, 20)
    stack.flush()
    with stack.queue() as queue:
        stack.fill(batches * batch, content_type=CONTENT_TYPE)
        with seen_commands(stack.redis_url) as commands, stack.worker() as worker:
            watch(run, queue, [worker], SECONDS)
    stack.flush()
    calls = {name: commands[name] for name in BATCH_CALLS if commands[name]}
    each = sum(calls.values()) / batches
    said = ", ".join(f"{name} {count / batches:.2f}" for name, count in calls.items())
    return [
        Result("round trips to Redis for a full batch", f"≤ {ROUND_TRIPS:g}", f"{each:.2f}", each <= ROUND_TRIPS,
               [Figure("round trips for a full batch", "calls", {"penstock": [each]})], said)
    ]  # fmt: skip


def longest_call(run: Run) -> list[Result]:
    """By SLOWLOG's clock, which is the wall's: so Redis goes before all others where that is allowed, and of each kind
    of call the least of the rounds' longest is what it takes at most on a quiet machine."""
    stack, rounds = run.stack, run.rounds
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, stack.redis_pid, HIGHEST_PRIORITY)
    every: list[dict[str, float]] = []
    for number in range(rounds):
        run.progress(f"bodies of 16 MiB, round {number + 1} of {rounds}")
        every.append(_slowest(run, run.count(12, 4)))
    os.setpriority(os.PRIO_PROCESS, stack.redis_pid, 0)
    stack.flush()
    names = {name for one in every for name in one}
    least = {name: min(one.get(name, 0.0) for one in every) for name in names}
    first, *others = sorted(least, key=lambda name: -least[name])
    figure = Figure(
        "longest Redis call, 16 MiB bodies",
        "ms",
        {name: [one.get(name, 0.0) for one in every] for name in (first, *others[:3])},
    )
    return [
        Result(
            "longest Redis call with 16 MiB bodies in the queue",
            f"≤ {LONGEST_MS:g} ms",
            f"{least[first]:.1f} ms ({first})",
            least[first] <= LONGEST_MS,
            [figure],
            ", ".join(f"{name} {least[name]:.1f} ms" for name in others[:3]),
        )
    ]


def _slowest(run: Run, count: int) -> dict[str, float]:
    """The longest of each command and script, ms, while so many bodies are put, claimed and stored."""
    stack, names = run.stack, script_names()
    stack.flush()
    with stack.queue() as queue, stack.worker() as worker:
        queue.configure(items=PLENTY_OF_WRITES, size=PLENTY_OF_BYTES)
        worker.wait_until_started()
        stack.client.config_set("slowlog-max-len", 10_000)
        stack.client.config_set("slowlog-log-slower-than", NOTED_MICROS)
        stack.client.slowlog_reset()
        stack.fill(count, size=LARGEST_BODY, content_type=CONTENT_TYPE)
        watch(run, queue, [worker], SECONDS)
        entries = stack.client.slowlog_get(10_000)
        stack.client.config_set("slowlog-log-slower-than", -1)
    slowest: dict[str, float] = {}
    for entry in entries:
        first, _, rest = entry["command"].decode(errors="replace").partition(" ")
        name = names.get(rest.partition(" ")[0], first) if first.upper() == "EVALSHA" else first
        slowest[name] = max(slowest.get(name, 0.0), int(entry["duration"]) / 1000)
    return slowest


def imports(run: Run) -> list[Result]:
    """In a fresh interpreter, its own start taken off."""

    def importing(module: str) -> float:
        program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        said = subprocess.run(
            [sys.executable, "-c", program], env=clean_environment({}), capture_output=True, text=True, check=True
        )
        return float(said.stdout) * 1000

    contenders = {module: lambda module=module: importing(module) for module in ("penstock", "redis", "boto3")}
    figure = interleave("import", "ms", contenders, run.rounds, run.progress)
    value = ", ".join(f"{module} {figure.median(module):,.0f} ms" for module in contenders)
    return [Result("import time", "reported", value, None, [figure])]


MEASURES = (
    Measure("idle", "commands, CPU and memory of a worker that has nothing to do", idle),
    Measure("round-trips", "calls to Redis for a full batch", round_trips),
    Measure("longest-call", "the longest that Redis is busy with one call, with bodies of 16 MiB", longest_call),
    Measure("import", "what `import penstock` takes", imports),
)
