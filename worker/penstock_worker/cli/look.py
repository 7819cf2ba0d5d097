"""``penstock queue list``, ``show`` and ``peek``: single writes in the queue."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import msgspec
from rich.table import Table

from penstock.queue import listing, look
from penstock.queue.look import Details, Entry, Filter, State
from penstock.queue.names import PRIORITIES
from penstock.queue.results import Failure
from penstock_worker.cli.common import (
    add_row,
    console,
    in_bytes,
    in_seconds,
    json_option,
    open_queue,
    print_fields,
    print_json,
    rfc3339,
    the_bucket,
)
from penstock_worker.settings import read_settings

PEEK_BYTES = 1024
MAX_PEEK_BYTES = 1024 * 1024

F = TypeVar("F", bound=Callable[..., Any])


def filters(command: F) -> F:
    """The options of every command that picks writes in the queue; they come as one ``where``."""
    for option in (
        click.option("--prefix", help="Keys that begin with this."),
        click.option("--tenant", help="Only this tenant; '' is the one without a name."),
        click.option("--bucket", help="Only this bucket."),
        click.option("--priority", type=click.Choice(PRIORITIES)),
        click.option("--state", type=click.Choice([state.value for state in State])),
    ):
        command = option(command)
    return command


def filter_of(options: dict[str, Any]) -> Filter:
    state = options.pop("state")
    return Filter(state=None if state is None else State(state), **options)


def failure_json(failure: Failure | None) -> dict[str, Any] | None:
    return None if failure is None else msgspec.structs.asdict(failure)


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


def entry_json(entry: Entry) -> dict[str, Any]:
    """The documented form of an entry of ``queue list --json``."""
    return {
        "bucket": entry.bucket,
        "key": entry.key,
        "seq": entry.seq,
        "waiting_seq": entry.waiting_seq,
        "operation": entry.operation,
        "state": entry.state.value,
        "priority": entry.priority,
        "tenant": entry.tenant,
        "attempts": entry.attempts,
        "size": entry.size,
        "accepted_at": _time(entry.accepted_at),
        "due_at": _time(entry.due_at),
        "contested": entry.contested,
        "guard_looks_at": _time(entry.looks_at),
        "last_error": failure_json(entry.failure),
    }


def details_json(details: Details) -> dict[str, Any]:
    """The documented form of ``queue show --json``."""
    header = {} if details.header is None else msgspec.structs.asdict(details.header)
    return {**entry_json(details.entry), "body_size": details.body_size, "sha256": details.sha256, **header}


def _short_state(entry: Entry, now: datetime) -> str:
    text = entry.state.value
    if entry.due_at is not None:
        text += f", {in_seconds(max(0.0, (entry.due_at - now).total_seconds()))} to go"
    if entry.looks_at is not None:
        text += "" if entry.state is State.CONTESTED else ", contested"
        text += f", look in {in_seconds(max(0.0, (entry.looks_at - now).total_seconds()))}"
    return text


@click.command(
    "list",
    epilog="\b\nExamples:\n  penstock queue list --state delayed\n"
    "  penstock queue list --bucket reports --tenant acme --limit 20\n  penstock queue list --json | jq '.[].key'\n"
    "  penstock queue list --state contested\n"
    "  penstock queue list --json --limit 1000 --cursor ''",
)
@filters
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Writes at the most.")
@click.option("--cursor", help="Go on where a listing with the same options ended; '' begins one.")
@json_option
def list_(limit: int, cursor: str | None, as_json: bool, **options: Any) -> None:
    """Show writes in the queue: all, or those that the options pick.

    Delayed writes come by their due time, the ready ones of one tenant of one bucket oldest first, others in no order.
    --state contested shows all names on which an old request may still land, idle ones too, by the guard's next look.
    When there are more, a line on stderr says with which --cursor the listing goes on. With --cursor, JSON is an object
    of `writes` and the next `cursor`, which is null at the end.
    """
    with open_queue(read_settings()) as queue:
        entries, after = listing.part(queue, filter_of(options), limit, cursor or "")
    if as_json and cursor is not None:
        print_json({"writes": [entry_json(entry) for entry in entries], "cursor": after})
        return
    if after is not None:
        click.echo(f"there may be more: the same with --cursor {after}", err=True)
    if as_json:
        print_json([entry_json(entry) for entry in entries])
        return
    table = Table(title=f"{len(entries):,} writes", title_justify="left")
    # Ages, because times would leave no room for the keys in 80 columns; `show` and --json have the times.
    for column in ("age", "key", "state", "priority", "tenant", "tries", "size", "last error"):
        table.add_column(column, overflow="fold", no_wrap=column in ("age", "priority", "tries", "size"))
    now = datetime.now(UTC)
    for entry in entries:
        add_row(
            table,
            "" if entry.accepted_at is None else in_seconds((now - entry.accepted_at).total_seconds()),
            f"{entry.bucket}/{entry.key}" + (" (delete)" if entry.operation == "delete" else ""),
            _short_state(entry, now),
            entry.priority,
            entry.tenant,
            str(entry.attempts),
            "" if entry.size is None else in_bytes(entry.size),
            "" if entry.failure is None else entry.failure.code,
        )
    console().print(table)


@click.command(
    short_help="Show all that is known of a write but its body.",
    epilog="\b\nExamples:\n  penstock queue show reports/42.json\n  penstock queue show reports/42.json --json",
)
@click.argument("key")
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@json_option
def show(key: str, bucket: str | None, as_json: bool) -> None:
    """Show all that the queue knows of the write of KEY, except its body.

    A key without a write is shown too while it is contested: while an old request may still land on its object.
    """
    settings = read_settings()
    bucket = the_bucket(settings, bucket)
    with open_queue(settings) as queue:
        details = look.find(queue, bucket, key)
        dead = queue.of(bucket, key).dead_seqs(bucket, key) if details is None else []
    if details is None:
        hint = f"; {len(dead)} dead letters of it: `penstock dead show`" if dead else ""
        raise click.ClickException(f"{bucket}/{key}: not in the queue{hint}")
    shown = details_json(details)
    if as_json:
        print_json(shown)
        return
    looks_at = shown.pop("guard_looks_at")
    shown["contested"] = looks_at and (
        f"an old request may still land on the object; the guard looks next at {looks_at} and repairs it if need be: "
        "nothing needs to be done"
    )
    print_fields(shown)


@click.command(
    short_help="Print the first bytes of a waiting body.",
    epilog="\b\nExamples:\n  penstock queue peek reports/42.json\n  penstock queue peek logs.tar --bytes 64 | xxd",
)
@click.argument("key")
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@click.option(
    "--bytes",
    "most",
    type=click.IntRange(1, MAX_PEEK_BYTES),
    default=PEEK_BYTES,
    show_default=True,
    help="At the most.",
)
def peek(key: str, bucket: str | None, most: int) -> None:
    """Print the first bytes of the body that waits under KEY, as it was put.

    A terminal gets text, with everything else escaped; a pipe or a file gets the bytes.
    """
    settings = read_settings()
    bucket = the_bucket(settings, bucket)
    with open_queue(settings) as queue:
        found = look.peek(queue, bucket, key, most)
    if found is None:
        raise click.ClickException(f"{bucket}/{key}: not in the queue")
    body, size = found
    if sys.stdout.isatty():
        text = body.decode(errors="backslashreplace")
        click.echo("".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text))
    else:
        sys.stdout.buffer.write(body)
    if len(body) < size:
        click.echo(f"the first {len(body):,} of {size:,} bytes", err=True)
