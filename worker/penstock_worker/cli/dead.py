"""``penstock dead …``: writes that failed for good. Looking at them and putting them back."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click
import msgspec
from rich.table import Table

from penstock.queue.client import RETRY_STEP
from penstock.queue.dead import by_shard, of_name, pages
from penstock.queue.results import DeadLetter
from penstock_worker.cli import dead_files, dead_purge
from penstock_worker.cli.audit import audited
from penstock_worker.cli.common import (
    EXIT_NOT_REACHED,
    add_row,
    console,
    in_bytes,
    json_option,
    open_queue,
    print_fields,
    print_json,
    progress_bar,
    rfc3339,
    the_bucket,
)
from penstock_worker.cli.dead_json import dead_json
from penstock_worker.cli.dead_pick import filter_of, filters, pick
from penstock_worker.settings import read_settings

_ANSWERS = {
    "q": "queued",
    "s": "superseded by a newer write that waits",
    "n": "left, because a newer dead letter of the key exists",
    "i": "left, because it was imported and a newer write may have been stored since (--force)",
    "w": "left, because an older write of the key is still in the queue",
    "f": "left, because the queue is full",
    "-": "gone meanwhile",
}


@click.group()
def dead() -> None:
    """Look at dead letters, put them back, remove them."""


dead.add_command(dead_purge.purge)
dead.add_command(dead_files.export)
dead.add_command(dead_files.import_)


@dead.command(
    "list",
    short_help="Show dead letters, the oldest first.",
    epilog="\b\nExamples:\n  penstock dead list\n  penstock dead list --json | jq '.[].code'",
)
@filters
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Entries, oldest first.")
@json_option
def list_(limit: int, as_json: bool, **options: Any) -> None:
    """Show dead letters, the oldest first: all, or those that the options pick."""
    letters: list[DeadLetter] = []
    with open_queue(read_settings()) as queue:
        for page in pages(queue, filter_of(options)):
            letters += page
            if len(letters) >= limit:
                break
        total = queue.stats().dead
    letters = letters[:limit]
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
        add_row(
            table,
            rfc3339(letter.died_at),
            f"{letter.bucket}/{letter.key}" + (" (delete)" if letter.operation == "delete" else ""),
            letter.failure.code,
            str(letter.attempts),
            in_bytes(letter.size),
            letter.failure.message,
        )
    console().print(table)


@dead.command(
    short_help="Show all that is known of a key's dead letters.",
    epilog="\b\nExamples:\n  penstock dead show reports/42.json\n  penstock dead show reports/42.json --json",
)
@click.argument("key")
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@json_option
def show(key: str, bucket: str | None, as_json: bool) -> None:
    """Show all that is known of the dead letters of KEY, the oldest first, except their bodies."""
    settings = read_settings()
    bucket = the_bucket(settings, bucket)
    with open_queue(settings) as queue:
        found = of_name(queue, bucket, key)
    if not found:
        raise click.ClickException(f"{bucket}/{key}: no dead letter")
    shown = []
    for one in found:
        header = {} if one.header is None else msgspec.structs.asdict(one.header)
        shown.append({**dead_json(one.letter), "body_size": one.body_size, "sha256": one.sha256, **header})
    if as_json:
        print_json(shown)
        return
    for number, letter in enumerate(shown):
        click.echo("\n" * bool(number), nl=False)
        print_fields(letter)


@dead.command(
    short_help="Put dead letters back, with fresh attempts.",
    epilog="\b\nExamples:\n  penstock dead retry reports/42.json\n  penstock dead retry --all\n"
    "  penstock dead retry --all --code InvalidTag --older-than 1h",
)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="All that the options pick.")
@filters
@click.option("--force", is_flag=True, help="Also where a newer dead letter of the key exists, and imported ones.")
@json_option
def retry(keys: tuple[str, ...], everything: bool, force: bool, as_json: bool, **options: Any) -> None:
    """Put dead letters back into the queue, with fresh attempts and their old place in the order of their key.

    A dead letter never overwrites a newer write: it stays where one waits, and storing one removes it.
    """
    settings = read_settings()
    answers: Counter[str] = Counter()
    with open_queue(settings) as queue:
        refs = [letters[-1] for letters in pick(queue, settings, keys, everything, options)]
        with (
            audited(queue, "dead retry", keys=keys, all=everything, force=force, **options) as tally,
            progress_bar(quiet=as_json) as progress,
        ):
            task = progress.add_task("retrying", total=len(refs))
            for at in range(0, len(refs), RETRY_STEP):
                step = refs[at : at + RETRY_STEP]
                for shard, seqs in by_shard(queue, step):
                    answers.update(shard.retry_dead(seqs, force=force))
                tally.count = answers["q"]
                progress.advance(task, len(step))
    if as_json:
        print_json({text: answers[letter] for letter, text in _ANSWERS.items() if answers[letter]})
    elif not answers:
        click.echo("no dead letters")
    else:
        for letter, text in _ANSWERS.items():
            if answers[letter]:
                click.echo(f"{answers[letter]:,} {text}")
    sys.exit(EXIT_NOT_REACHED if answers["w"] or answers["i"] or answers["f"] or answers["-"] else 0)
