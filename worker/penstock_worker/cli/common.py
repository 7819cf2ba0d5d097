"""What the commands share: settings, the queue, and how results are printed."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import redis
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from penstock.queue.connection import translate
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.settings import WorkerSettings
from penstock_worker.top.cells import safe

EXIT_NOT_REACHED = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 130  # 128 and SIGINT's number, as shells say it

REDIS_SECONDS = 5.0
"""Time limit of a command's call to Redis."""

F = TypeVar("F", bound=Callable[..., Any])

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@contextmanager
def redis_errors(settings: WorkerSettings) -> Iterator[None]:
    """Redis's errors become one clear line."""
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise translate(error, settings.redis_url, maybe_accepted=False) from error


@contextmanager
def open_queue(settings: WorkerSettings) -> Iterator[ShardedQueue]:
    """The queue that the settings name, with as many shards as it has now, and with `redis_errors`."""
    clients = Clients(settings.redis_url, REDIS_SECONDS, settings.queue)
    try:
        with redis_errors(settings):
            queue = ShardedQueue(clients, settings.queue)
            queue.refresh()
            yield queue
    finally:
        clients.close()


def who() -> str:
    """The person at the keyboard, for the notes that others will read: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def the_bucket(settings: WorkerSettings, bucket: str | None) -> str:
    """The bucket that a command's keys are in: as given, else the setting."""
    bucket = bucket or settings.bucket
    if bucket is None:
        raise click.UsageError("no bucket: give --bucket or set PENSTOCK_BUCKET")
    return bucket


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def console() -> Console:
    """Prints what it is given: keys may hold [brackets] and :colons:."""
    return Console(highlight=False, markup=False, emoji=False)


def add_row(table: Table, *cells: str | None) -> None:
    """Each cell as it is, but for what a terminal would obey."""
    table.add_row(*[Text(safe(cell or "")) for cell in cells])


def print_fields(fields: Mapping[str, object]) -> None:
    """One line for each that says something."""
    for name, value in fields.items():
        if value is not False and value not in (None, "", {}):
            click.echo(f"{name.replace('_', ' '):20}{safe(str(value))}")


def progress_bar(*, quiet: bool) -> Progress:
    """On stderr, and only where somebody can see it move."""
    out = Console(stderr=True)
    return Progress(console=out, transient=True, disable=quiet or not out.is_terminal)


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_bytes(size: int) -> str:
    """A size for people: 1.5 MiB."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def in_seconds(seconds: float | None) -> str:
    """An age for people: 85 ms, 3.2 s, 4 min, 2.5 h."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
