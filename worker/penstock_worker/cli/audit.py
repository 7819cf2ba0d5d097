"""``penstock audit``, and what every command that changes something notes for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import click
import redis
from rich.table import Table

from penstock.queue import audit as log
from penstock.queue.sharded import AnyQueue
from penstock_worker.cli.common import add_row, console, json_option, open_queue, print_json, rfc3339, who
from penstock_worker.settings import read_settings


@dataclass
class Tally:
    """What a command has changed so far."""

    count: int = 0


@contextmanager
def audited(queue: AnyQueue, command: str, **what: object) -> Iterator[Tally]:
    """Notes a command when it ends, however it ends, with what it changed until then; without options not given."""
    given = {name: value for name, value in what.items() if value is not None and value is not False and value != ()}
    tally = Tally()
    try:
        yield tally
    except BaseException as error:
        with suppress(redis.exceptions.RedisError):  # the command's own error is the one to be shown
            log.record(queue, who(), command, given, tally.count, str(error) or type(error).__name__)
        raise
    log.record(queue, who(), command, given, tally.count)


def what_of(what: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in what.items())


@click.command(
    short_help="Show who changed what by command.",
    epilog="\b\nExamples:\n  penstock audit\n  penstock audit --json | jq '.[].who'",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Entries, newest first.")
@json_option
def audit(limit: int, as_json: bool) -> None:
    """Show who changed what by command, and how many writes, the newest first. About 10,000 entries are kept."""
    with open_queue(read_settings()) as queue:
        found = log.entries(queue, limit=limit)
    if as_json:
        print_json(
            [
                {
                    "at": rfc3339(entry.at),
                    "who": entry.who,
                    "command": entry.command,
                    "what": entry.what,
                    "count": entry.count,
                    "error": entry.error,
                }
                for entry in found
            ]
        )
        return
    table = Table(title=f"{len(found):,} changes", title_justify="left")
    for column in ("when", "who", "command", "what", "count", "error"):
        table.add_column(column, overflow="fold")
    for entry in found:
        add_row(
            table,
            rfc3339(entry.at),
            entry.who,
            entry.command,
            what_of(entry.what),
            f"{entry.count:,}",
            entry.error or "",
        )
    console().print(table)
