"""``penstock queue configure``: what lives in Redis and holds for all: limits, the number of shards, the log level."""

from __future__ import annotations

from typing import Any

import click

from penstock.queue import live
from penstock.queue.names import MAX_SHARDS
from penstock.queue.reshard import reshard
from penstock.queue.results import Stats
from penstock.queue.sharded import ShardedQueue, part_of
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
    short_help="Show or change the queue's limits, shards and log level.",
    epilog="\b\nExamples:\n  penstock queue configure\n  penstock queue configure --items 5000000 --bytes 8GiB\n"
    "  penstock queue configure --dead-bytes 1GiB\n  penstock queue configure --log-level debug\n"
    "  penstock queue configure --shards 4 --wait 30",
)
@click.option("--items", type=click.IntRange(1, HIGHEST), help="Most writes that wait or are in flight.")
@click.option("--bytes", "size", type=SizeType(), help="Most bytes of these, such as 8GiB.")
@click.option("--dead-bytes", "dead_size", type=SizeType(), help="Most bytes of dead letters.")
@click.option(
    "--shards", type=click.IntRange(1, MAX_SHARDS), help="Into how many shards it is split, while it is empty."
)
@click.option(
    "--wait", type=click.FloatRange(0), help="With --shards: seconds to wait until it is, closed to producers."
)
@click.option(
    "--log-level",
    type=click.Choice([*live.LOG_LEVELS, WORKERS_OWN]),
    help="What all workers log, without a restart; default: each its own again.",
)
@json_option
def configure(
    items: int | None,
    size: int | None,
    dead_size: int | None,
    shards: int | None,
    wait: float | None,
    log_level: str | None,
    as_json: bool,
) -> None:
    """Show the queue's limits, shards and log level, or change those that are given, for all producers and workers.

    Limits are of the whole queue, and each shard has its part. They hold at once; workers take a log level over within
    some seconds, and say so in their log. Another number of shards needs an empty queue, and workers start anew.

    Nothing that is held is lost: below what is held, new writes are refused until enough has drained. The limit of dead
    letters cannot be set below what they take.
    """
    settings = read_settings()
    if wait is not None and shards is None:
        raise click.UsageError("--wait goes with --shards")
    with open_queue(settings) as queue:
        _check_dead(queue, dead_size, shards)
        given = {"items": items, "bytes": size, "dead_bytes": dead_size, "shards": shards, "log_level": log_level}
        if any(value is not None for value in given.values()):
            with audited(queue, "queue configure", **given) as tally:
                if shards is not None:
                    reshard(queue, shards, wait=wait or 0.0)
                queue.configure(items=items, size=size, dead_size=dead_size)
                if log_level is not None:
                    live.set_log_level(queue, None if log_level == WORKERS_OWN else log_level)
                tally.count = sum(value is not None for value in given.values())
        now, level = queue.stats(), live.read(queue).log_level
    warnings = _warnings(now, settings)
    if as_json:
        limits = {"items": now.limits.items, "bytes": now.limits.bytes, "dead_bytes": now.limits.dead_bytes}
        held = {"items": now.items, "bytes": now.bytes, "dead_bytes": now.dead_bytes}
        print_json({"limits": limits, "held": held, "shards": now.shards, "log_level": level, "warnings": warnings})
        return
    click.echo(f"items       {now.limits.items:,} (held: {now.items:,})")
    click.echo(f"bytes       {in_bytes(now.limits.bytes)} (held: {in_bytes(now.bytes)})")
    click.echo(f"dead bytes  {in_bytes(now.limits.dead_bytes)} (held: {in_bytes(now.dead_bytes)})")
    click.echo(f"shards      {now.shards or 'being changed'}")
    click.echo(f"log level   {level or 'as each worker is set'}")
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _check_dead(queue: ShardedQueue, dead_size: int | None, shards: int | None) -> None:
    """Dead letters must not be above their limit; they stay in their shards, unless there are none."""
    if dead_size is None or shards not in (None, len(queue.shards)):
        return
    for shard in queue.shards:
        held, part = shard.stats().dead_bytes, part_of(dead_size, shard.shard, len(queue.shards))
        if part < held:
            where = f" of shard {shard.shard}, whose part would be {part:,}," if shard.count > 1 else ""
            raise click.UsageError(
                f"--dead-bytes {dead_size:,}: the dead letters{where} take {held:,} bytes. Retry or purge some first"
                " (see `penstock dead --help`)"
            )


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
    parts = now.shards or 1
    of = " of a shard" if parts > 1 else ""
    if now.limits.bytes // parts < settings.max_body_bytes:
        found.append(
            f"a body may have {settings.max_body_bytes:,} bytes (PENSTOCK_MAX_BODY_BYTES), more than the whole "
            f"{'shard' if of else 'queue'} may hold: such a write is always refused"
        )
    if now.limits.dead_bytes // parts < settings.max_body_bytes:
        found.append(
            f"a body may have {settings.max_body_bytes:,} bytes (PENSTOCK_MAX_BODY_BYTES), more than all dead letters"
            f"{of}: such a write stays in the queue, parked, when it fails for good"
        )
    return found
