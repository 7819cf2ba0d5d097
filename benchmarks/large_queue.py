"""No call of Redis's is slow on a large queue: fills one with a million writes of 5,000 tenants, does to it what
producers, workers, operators and scrapes do, and prints the slowest call of each script, by Redis's own SLOWLOG.

    .venv/bin/python -m benchmarks.large_queue [--writes 1000000] [--tenants 5000] [--runs 1] [--json FILE]

SLOWLOG's time is the wall's, so that another process on Redis's core counts too; therefore the slowest call by Redis's
own CPU time stands beside it, with all that Redis did from one call to the next (reading, the append-only file). Where
allowed, Redis runs at the highest priority and this program at the lowest. Of several runs the least of the maxima is
what a call takes at most on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.commands import script_names
from benchmarks.large_load import SECONDS, SLOW_MICROS, Load
from penstock.queue.connection import open_client
from penstock_worker.demo.servers import RedisServer

NOTED_MICROS = 500
"""Calls that take longer are noted, so that each script's slowest is known."""
SINGLE = "(one command)"
"""What scripts call, and SLOWLOG notes too. Most take some 10 µs, so the slowest tells the machine's noise."""


def _start(command: bytes | str) -> str:
    """Its first arguments; of a script's call only the script's own."""
    text = command if isinstance(command, bytes) else command.encode()
    own = text.split(b" ", 5)[-1] if text.upper().startswith(b"EVALSHA") else text
    return repr(own[:80])[2:-1]


class Watch:
    """Reads SLOWLOG after each step, and what Redis itself says has delayed it."""

    def __init__(self, url: str) -> None:
        self._client: Any = open_client(url, SECONDS)
        self._names = script_names()
        self.slowest: dict[str, tuple[int, str]] = {}
        self.slow: list[dict[str, object]] = []
        self._client.config_set("slowlog-log-slower-than", NOTED_MICROS)
        self._client.config_set("slowlog-max-len", 1_000_000)
        self._client.config_set("latency-monitor-threshold", 3)

    def collect(self, step: str) -> None:
        for entry in self._client.slowlog_get(1_000_000):
            name = self._name(entry["command"])
            micros = int(entry["duration"])
            if micros > self.slowest.get(name, (0, ""))[0]:
                self.slowest[name] = micros, step
            if micros > SLOW_MICROS:
                self.slow.append({"step": step, "call": name, "micros": micros, "command": _start(entry["command"])})
        self._client.slowlog_reset()

    def _name(self, command: bytes | str) -> str:
        text = command.decode(errors="replace") if isinstance(command, bytes) else command
        first, _, rest = text.partition(" ")
        return self._names.get(rest.partition(" ")[0], SINGLE) if first.upper() == "EVALSHA" else SINGLE

    def events(self) -> dict[str, int]:
        """The longest of each kind since the start, in milliseconds: forks, disk writes, expiry …"""
        return {event[0].decode(): int(event[3]) for event in self._client.execute_command("LATENCY", "LATEST")}


def run(writes: int, tenants: int, executable: str | None, extra: tuple[str, ...]) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as directory,
        RedisServer(Path(directory), executable=executable, extra=extra) as server,
    ):
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, server.pid, -20)
        watch, load_ = Watch(server.url), Load(server.url, server.pid, writes, tenants)
        seconds: dict[str, float] = defaultdict(float)
        for step, work in load_.steps():
            began = time.perf_counter()
            work()
            seconds[step] += time.perf_counter() - began
            watch.collect(step)
            print(f"  {step:18}{seconds[step]:7.1f} s  {load_.queue.stats().items:>9,} writes", flush=True)
        left = load_.queue.stats().items
        return {
            "slowest": {name: micros for name, (micros, _) in watch.slowest.items()},
            "cpu": load_.queue.slowest,
            "calls": load_.queue.calls,
            "slow_by_cpu": +load_.queue.slow,
            "slow": watch.slow,
            "events_ms": watch.events(),
            "left": left,
        }


def report(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The least of the maxima, in milliseconds, as a table."""
    shown: dict[str, dict[str, float]] = {}
    print(f"\n{'slowest call, ms':18}{'SLOWLOG':>10}{'CPU':>8}   (the least of {len(results)} runs)")
    for name in sorted({name for result in results for name in (*result["slowest"], *result["cpu"])}):
        wall = min(result["slowest"].get(name, 0) for result in results) / 1000
        cpu = min(result["cpu"].get(name, 0) for result in results) / 1000
        shown[name] = {"slowlog_ms": wall, "cpu_ms": cpu}
        under = f"< {NOTED_MICROS / 1000:g}"
        print(f"{name:18}{f'{wall:.1f}' if wall else under:>10}{f'{cpu:.1f}' if cpu else '':>8}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--server", help="The executable; by default the first that is found.")
    parser.add_argument("--redis", action="append", default=[], help="One more argument of the server's.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.nice(19)
    results = []
    for number in range(arguments.runs):
        print(f"run {number + 1} of {arguments.runs}")
        results.append(run(arguments.writes, arguments.tenants, arguments.server, tuple(arguments.redis)))
    shown = report(results)
    for number, result in enumerate(results, start=1):
        print(
            f"run {number}: above {SLOW_MICROS / 1000:g} ms of {sum(result['calls'].values()):,} calls:"
            f" by CPU time {dict(result['slow_by_cpu']) or 'none'}, in SLOWLOG {len(result['slow'])}"
        )
        for one in result["slow"]:
            print(f"    {one['micros'] / 1000:.1f} ms  {one['call']:10} {one['step']:18} {one['command']}")
        print(f"run {number}: longest in ms by LATENCY: {result['events_ms']}; left in the queue: {result['left']}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"least": shown, "runs": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
