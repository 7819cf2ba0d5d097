"""``penstock queue …``: the queue at a glance, waiting until it is empty, and the commands of its own files."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
from rich.live import Live
from rich.table import Table

from penstock.queue import live
from penstock.queue.names import PRIORITIES
from penstock.queue.results import Stats
from penstock.queue.sharded import AnyQueue
from penstock_worker.cli import change, configure, look, pause
from penstock_worker.cli.common import (
    EXIT_NOT_REACHED,
    console,
    in_bytes,
    in_seconds,
    json_option,
    open_queue,
    print_json,
    rfc3339,
)
from penstock_worker.settings import read_settings

LOOK_SECONDS = 0.2
SUSPENDED = "suspended"


@click.group()
def queue() -> None:
    """Look at the queue, wait for it, hold it up."""


queue.add_command(look.list_)
queue.add_command(look.show)
queue.add_command(look.peek)
queue.add_command(change.move)
queue.add_command(change.purge)
queue.add_command(pause.pause)
queue.add_command(pause.resume)
queue.add_command(configure.configure)


def stats_json(stats: Stats, log_level: str | None) -> dict[str, Any]:
    """The documented form of ``queue stats --json``."""
    return {
        "queue": stats.queue,
        "shards": stats.shards,
        "paused": stats.paused,
        "writes": {
            "ready": stats.ready,
            "delayed": stats.delayed,
            "inflight": stats.inflight,
            "parked": stats.parked,
            "dead": stats.dead,
            "contested": stats.contested,
        },
        "bytes": stats.bytes,
        "oldest_age_seconds": stats.oldest_age,
        "limits": {"items": stats.limits.items, "bytes": stats.limits.bytes, "dead_bytes": stats.limits.dead_bytes},
        "set_aside": stats.set_aside,
        "epoch_seconds_left": stats.epoch_left,
        "log_level": log_level,
        "blocks": [
            {
                "bucket": block.bucket,
                "tenant": block.tenant,
                "reason": block.reason,
                "since": rfc3339(block.since),
                "note": block.note,
            }
            for block in stats.blocks
        ],
        "suspended": [
            {
                "bucket": one.bucket,
                "since": rfc3339(one.since),
                "next_probe": rfc3339(one.next_probe),
                "probes": one.probes,
                "error_class": one.error_class,
                "code": one.code,
                "http_status": one.http_status,
            }
            for one in stats.suspended
        ],
    }


def stats_table(stats: Stats) -> Table:
    table = Table(title=f"queue {stats.queue}" + (" (paused)" if stats.paused else ""), title_justify="left")
    table.add_column("")
    table.add_column("writes", justify="right")
    table.add_column("oldest", justify="right")
    for priority in PRIORITIES:
        table.add_row(f"ready, {priority}", f"{stats.ready[priority]:,}", in_seconds(stats.oldest_age[priority]))
    for state in ("delayed", "inflight", "parked", "contested", "dead"):
        table.add_row("in flight" if state == "inflight" else state, f"{getattr(stats, state):,}", "")
    table.add_section()
    table.add_row("all but dead", f"{stats.items:,} of {stats.limits.items:,}", "")
    table.add_row("bytes", f"{in_bytes(stats.bytes)} of {in_bytes(stats.limits.bytes)}", "")
    table.add_row("dead bytes", f"{in_bytes(stats.dead_bytes)} of {in_bytes(stats.limits.dead_bytes)}", "")
    if stats.shards != 1:
        table.add_row("shards", f"{stats.shards}" if stats.shards else "being changed", "")
    return table


@queue.command(
    short_help="How many writes wait, how old, how full the queue is.",
    epilog="\b\nExamples:\n  penstock queue stats\n  penstock queue stats --json | jq .writes.ready",
)
@json_option
def stats(as_json: bool) -> None:
    """How many writes are in which state, how old the oldest are, and how full the queue is."""
    with open_queue(read_settings()) as open_:
        now, log_level = open_.stats(), live.read(open_).log_level
    if as_json:
        print_json(stats_json(now, log_level))
    else:
        console().print(stats_table(now))
        if log_level is not None:
            click.echo(f"workers log at level {log_level} (penstock queue configure --log-level)")
        if now.epoch_left:
            left = f"{now.epoch_left:.0f} s more"
            click.echo(f"Redis restarted, or another server took over: what is written is contested for {left}")
        for block in now.blocks:
            if block.reason == SUSPENDED:
                continue  # told in full below
            click.echo(f"held up: {pause.describe(block)}")
        for one in now.suspended:
            status = f"HTTP {one.http_status}, " if one.http_status else ""
            click.echo(
                f"suspended: {one.bucket} since {rfc3339(one.since)}: {one.code} ({status}{one.error_class}); "
                f"{one.probes} probes, the next at {rfc3339(one.next_probe)}"
            )


@queue.command(
    epilog="\b\nExamples:\n  penstock queue drain --timeout 60\n  penstock queue drain && systemctl stop my-redis"
)
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds to wait.")
@json_option
def drain(timeout: float, as_json: bool) -> None:
    """Wait until nothing is ready, delayed or in flight.

    Exit status 0 when it is so, 1 with what is left when the time is over. It does not keep producers from adding.
    """
    with open_queue(read_settings()) as open_:
        last = _wait(open_, timeout, quiet=as_json)
        log_level = live.read(open_).log_level
    if as_json:
        print_json(stats_json(last, log_level))
    elif last.unfinished:
        click.echo(
            f"not drained within {timeout:g} s: {sum(last.ready.values()):,} ready, {last.delayed:,} delayed, "
            f"{last.inflight:,} in flight",
            err=True,
        )
    else:
        click.echo(f"drained; {last.dead:,} dead letters")
    sys.exit(EXIT_NOT_REACHED if last.unfinished else 0)


def _wait(open_: AnyQueue, timeout: float, *, quiet: bool) -> Stats:
    deadline = time.monotonic() + timeout
    out = console()
    now = open_.stats()
    with Live(stats_table(now), console=out, transient=True, auto_refresh=False) as live:
        while now.unfinished and time.monotonic() < deadline:
            time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            now = open_.stats()
            if not quiet and out.is_terminal:
                live.update(stats_table(now), refresh=True)
    return now
