"""``penstock dead …``: writes that failed for good."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click
from rich.progress import Progress
from rich.table import Table

from penstock.queue.client import Queue
from penstock.queue.results import DeadLetter
from penstock_worker.cli.common import (
    EXIT_NOT_REACHED,
    console,
    in_bytes,
    json_option,
    open_queue,
    print_json,
    rfc3339,
)
from penstock_worker.settings import read_settings

PAGE = 500
RETRY_STEP = 100
"""Dead letters one script call puts back: a few milliseconds of Redis's time."""

_ANSWERS = {
    "q": "queued",
    "s": "superseded by a newer write that waits",
    "n": "left, because a newer dead letter of the key exists",
    "w": "left, because an older write of the key is still in the queue",
    "f": "left, because the queue is full",
    "-": "gone meanwhile",
}


@click.group()
def dead() -> None:
    """Look at dead letters and put them back."""


def dead_json(letter: DeadLetter) -> dict[str, Any]:
    """The documented form of an entry of ``dead list --json``."""
    return {
        "bucket": letter.bucket,
        "key": letter.key,
        "seq": letter.seq,
        "operation": letter.operation,
        "priority": letter.priority,
        "tenant": letter.tenant,
        "attempts": letter.attempts,
        "error_class": letter.failure.error_class,
        "code": letter.failure.code,
        "http_status": letter.failure.http_status,
        "message": letter.failure.message,
        "accepted_at": rfc3339(letter.accepted_at),
        "died_at": rfc3339(letter.died_at),
        "size": letter.size,
    }


@dead.command("list", epilog="\b\nExamples:\n  penstock dead list\n  penstock dead list --json | jq '.[].code'")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Entries, oldest first.")
@json_option
def list_(limit: int, as_json: bool) -> None:
    """Show dead letters, the oldest first."""
    letters: list[DeadLetter] = []
    with open_queue(read_settings()) as queue:
        while len(letters) < limit:
            page = queue.dead_letters(limit=min(PAGE, limit - len(letters)), offset=len(letters))
            letters += page
            if len(page) < PAGE:
                break
        total = queue.stats().dead
    if as_json:
        print_json([dead_json(letter) for letter in letters])
        return
    if not letters:
        click.echo("no dead letters")
        return
    table = Table(title=f"{len(letters):,} of {total:,} dead letters", title_justify="left")
    for column in ("died", "key", "code", "attempts", "size", "message"):
        table.add_column(column, overflow="fold")
    for letter in letters:
        table.add_row(
            rfc3339(letter.died_at),
            f"{letter.bucket}/{letter.key}" + (" (delete)" if letter.operation == "delete" else ""),
            letter.failure.code,
            str(letter.attempts),
            in_bytes(letter.size),
            letter.failure.message,
        )
    console().print(table)


@dead.command(epilog="\b\nExamples:\n  penstock dead retry reports/42.json\n  penstock dead retry --all")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--bucket", help="The keys' bucket, instead of PENSTOCK_BUCKET.")
@click.option("--force", is_flag=True, help="Also where a newer dead letter of the key exists.")
@json_option
def retry(keys: tuple[str, ...], everything: bool, bucket: str | None, force: bool, as_json: bool) -> None:
    """Put dead letters back into the queue, with fresh attempts and their old place in the order of their key.

    A dead letter never overwrites a newer write: it stays where one waits, and storing one removes it.
    """
    if bool(keys) == everything:
        raise click.UsageError("give keys, or --all")
    settings = read_settings()
    bucket = bucket or settings.bucket
    if keys and bucket is None:
        raise click.UsageError("no bucket: give --bucket or set PENSTOCK_BUCKET")
    answers: Counter[str] = Counter()
    with open_queue(settings) as queue:
        seqs = _all(queue) if everything else _of_keys(queue, bucket or "", keys)
        with Progress(console=console(), transient=True, disable=as_json) as progress:
            task = progress.add_task("retrying", total=len(seqs))
            for at in range(0, len(seqs), RETRY_STEP):
                step = seqs[at : at + RETRY_STEP]
                answers.update(queue.retry_dead(step, force=force))
                progress.advance(task, len(step))
    if as_json:
        print_json({text: answers[letter] for letter, text in _ANSWERS.items() if answers[letter]})
    elif not answers:
        click.echo("no dead letters")
    else:
        for letter, text in _ANSWERS.items():
            if answers[letter]:
                click.echo(f"{answers[letter]:,} {text}")
    sys.exit(EXIT_NOT_REACHED if answers["w"] or answers["f"] or answers["-"] else 0)


def _all(queue: Queue) -> list[int]:
    seqs: list[int] = []
    while True:
        page = queue.dead_letters(limit=PAGE, offset=len(seqs))
        seqs += [letter.seq for letter in page]
        if len(page) < PAGE:
            return seqs


def _of_keys(queue: Queue, bucket: str, keys: tuple[str, ...]) -> list[int]:
    """The newest dead letter of each key."""
    seqs = []
    for key in keys:
        found = queue.dead_seqs(bucket, key)
        if not found:
            raise click.ClickException(f"{bucket}/{key}: no dead letter")
        seqs.append(found[-1])
    return seqs
