"""``penstock queue configure``: what lives in Redis and holds for every producer and worker: limits, the log level."""

from __future__ import annotations

from typing import Any

import click

from penstock.queue import live
from penstock.queue.results import Stats
from penstock.settings import ByteSize
from penstock_worker.cli.audit import audited
from penstock_worker.cli.common import in_bytes, json_option, open_queue, print_json
from penstock_worker.settings import WorkerSettings, read_settings

HIGHEST = 2**50
"""Limits above a pebibyte are a slip; and the scripts count in doubles, exact up to 2**53."""


WORKERS_OWN = "default"
"""In place of a log level: the one that each worker is set to."""


class SizeType(click.ParamType[int]):
    """A number of bytes, as settings take it: 1048576, 512KiB, 1GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            size = ByteSize.parse(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        if not 1 <= size <= HIGHEST:
            self.fail(f"{value!r} is not between 1 and {HIGHEST} bytes", param, ctx)
        return int(size)


@click.command(
    short_help="Show or change the queue's limits and the log level.",
    epilog="\b\nExamples:\n  penstock queue configure\n  penstock queue configure --items 5000000 --bytes 8GiB\n"
    "  penstock queue configure --dead-bytes 1GiB\n  penstock queue configure --log-level debug",
)
@click.option("--items", type=click.IntRange(1, HIGHEST), help="Most writes that wait or are in flight.")
@click.option("--bytes", "size", type=SizeType(), help="Most bytes of these, such as 8GiB.")
@click.option("--dead-bytes", "dead_size", type=SizeType(), help="Most bytes of dead letters.")
@click.option(
    "--log-level",
    type=click.Choice([*live.LOG_LEVELS, WORKERS_OWN]),
    help="What all workers log, without a restart; default: each its own again.",
)
@json_option
def configure(items: int | None, size: int | None, dead_size: int | None, log_level: str | None, as_json: bool) -> None:
    """Show the queue's limits and log level, or change those that are given, for all producers and workers.

    Limits hold at once; workers take a log level over within some seconds, and say so in their log.

    Nothing that is held is lost: below what is held, new writes are refused until enough has drained. The limit of dead
    letters cannot be set below what they take.
    """
    settings = read_settings()
    with open_queue(settings) as queue:
        before = queue.stats()
        if dead_size is not None and dead_size < before.dead_bytes:
            raise click.UsageError(
                f"--dead-bytes {dead_size:,}: the dead letters take {before.dead_bytes:,} bytes. Retry or purge some"
                " first (see `penstock dead --help`)"
            )
        given = {"items": items, "bytes": size, "dead_bytes": dead_size, "log_level": log_level}
        if any(value is not None for value in given.values()):
            with audited(queue, "queue configure", **given) as tally:
                queue.configure(items=items, size=size, dead_size=dead_size)
                if log_level is not None:
                    live.set_log_level(queue, None if log_level == WORKERS_OWN else log_level)
                tally.count = sum(value is not None for value in given.values())
        now, level = queue.stats(), live.read(queue).log_level
    warnings = _warnings(now, settings)
    if as_json:
        limits = {"items": now.limits.items, "bytes": now.limits.bytes, "dead_bytes": now.limits.dead_bytes}
        held = {"items": now.items, "bytes": now.bytes, "dead_bytes": now.dead_bytes}
        print_json({"limits": limits, "held": held, "log_level": level, "warnings": warnings})
        return
    click.echo(f"items       {now.limits.items:,} (held: {now.items:,})")
    click.echo(f"bytes       {in_bytes(now.limits.bytes)} (held: {in_bytes(now.bytes)})")
    click.echo(f"dead bytes  {in_bytes(now.limits.dead_bytes)} (held: {in_bytes(now.dead_bytes)})")
    click.echo(f"log level   {level or 'as each worker is set'}")
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _warnings(now: Stats, settings: WorkerSettings) -> list[str]:
    found = []
    if now.items >= now.limits.items:
        found.append(
            f"the queue holds {now.items:,} of {now.limits.items:,} items: new writes are refused until it has drained"
        )
    if now.bytes >= now.limits.bytes:
        found.append(
            f"the queue holds {now.bytes:,} of {now.limits.bytes:,} bytes: new writes are refused until it has drained"
        )
    if now.limits.bytes < settings.max_body_bytes:
        found.append(
            f"a body may have {settings.max_body_bytes:,} bytes (PENSTOCK_MAX_BODY_BYTES), more than the whole "
            "queue may hold: such a write is always refused"
        )
    if now.limits.dead_bytes < settings.max_body_bytes:
        found.append(
            f"a body may have {settings.max_body_bytes:,} bytes (PENSTOCK_MAX_BODY_BYTES), more than all dead letters: "
            "such a write stays in the queue, parked, when it fails for good"
        )
    return found
