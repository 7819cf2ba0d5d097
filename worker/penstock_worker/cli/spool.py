"""``penstock spool …``: what a producer's host accepted while Redis was away."""

from __future__ import annotations

import base64
import json
import sqlite3
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

import click

from penstock.calls import Options
from penstock.errors import InvalidSetting
from penstock.queue.names import PRIORITIES
from penstock.spool.duty import replay_all
from penstock.spool.files import SpoolBusyError
from penstock.spool.jobs import LostError
from penstock.spool.look import SpoolStats, spool_stats, spooled_writes
from penstock_worker.cli.common import (
    EXIT_NOT_REACHED,
    console,
    in_bytes,
    in_seconds,
    json_option,
    print_json,
    redis_errors,
    rfc3339,
)
from penstock_worker.settings import WorkerSettings, read_settings

LOOK = 0.2
"""Seconds between looks while another process replays."""


@click.group()
def spool() -> None:
    """Look at this host's spool, send it, or copy it to a file.

    PENSTOCK_SPOOL names its directory, PENSTOCK_QUEUE the queue.
    """


def _directory(settings: WorkerSettings) -> str:
    if settings.spool is None:
        raise InvalidSetting("PENSTOCK_SPOOL is not set: name the directory that the producers of this host use")
    return settings.spool


def _as_json(stats: SpoolStats) -> dict[str, object]:
    found = asdict(stats)
    found["oldest_age_seconds"] = found.pop("oldest_age")
    return found


@spool.command(
    short_help="Show what waits here for Redis.",
    epilog="\b\nExamples:\n  penstock spool stats\n  penstock spool stats --json | jq .writes",
)
@json_option
def stats(as_json: bool) -> None:
    """Show what waits here for Redis. Asks nothing of Redis."""
    settings = read_settings()
    found = spool_stats(_directory(settings), settings.queue)
    if as_json:
        print_json(_as_json(found))
        return
    out = console()
    out.print(f"{found.path}: {found.writes:,} writes, {in_bytes(found.bytes)}", soft_wrap=True)
    if found.oldest_age is not None:
        out.print(f"the oldest has waited {in_seconds(found.oldest_age)}")
    out.print(f"replayed so far: {found.replayed:,}, of them superseded by newer ones: {found.superseded:,}")
    for path in found.aside:
        out.print(f"set aside, because it could not be read: {path}", soft_wrap=True)


@spool.command(
    short_help="Send what waits here to Redis now.",
    epilog="\b\nExamples:\n  penstock spool flush\n  penstock spool flush --timeout 600",
)
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds at most.")
@json_option
def flush(timeout: float, as_json: bool) -> None:
    """Send what waits here to Redis now, for a host whose applications have stopped.

    Producers that run do it by themselves; while one of them does, this waits for it. Exit status 1: something is left.
    """
    settings = read_settings()
    directory = _directory(settings)
    options = Options.make(
        settings.redis_url, settings.queue, None, settings.producer_timeout, settings.max_body_bytes, None,
        settings.durability, directory, settings.spool_max_bytes,
    )  # fmt: skip
    ends = threading.Event()
    timer = threading.Timer(timeout, ends.set)
    timer.daemon = True
    timer.start()
    try:
        with redis_errors(settings):
            while spool_stats(directory, settings.queue).writes and not ends.is_set():
                with suppress(LostError):  # a producer has taken over
                    replay_all(options, directory, ends)
                time.sleep(LOOK)
    except (SpoolBusyError, sqlite3.Error, OSError) as error:
        raise click.ClickException(f"the spool in {directory} cannot be read or written: {error}") from None
    finally:
        timer.cancel()
    left = spool_stats(directory, settings.queue)
    if as_json:
        print_json(_as_json(left))
    else:
        console().print(f"{left.writes:,} writes are left in {left.path}", soft_wrap=True)
    if left.writes:
        sys.exit(EXIT_NOT_REACHED)


@spool.command(
    short_help="Copy what waits here, bodies and all, as lines of JSON.",
    epilog="\b\nExamples:\n  penstock spool export > spool.jsonl\n  penstock spool export | jq -r .key",
)
def export() -> None:
    """Copy what waits here, bodies (base64) and all, to standard output: a write a line, in order. Changes nothing."""
    settings = read_settings()
    for write in spooled_writes(_directory(settings), settings.queue):
        line = {
            "bucket": write.bucket,
            "key": write.key,
            "accepted_at": rfc3339(datetime.fromtimestamp(write.accepted_at, UTC)),
            "priority": PRIORITIES[write.priority],
            "delete": write.is_delete,
            "tenant": write.tenant,
            "body": base64.b64encode(write.body).decode(),
        }
        click.echo(json.dumps(line, ensure_ascii=False))
