"""``penstock queue move`` and ``purge``: single writes that wait."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import click

from penstock.queue import change, look
from penstock.queue.names import PRIORITIES
from penstock_worker.cli.audit import audited
from penstock_worker.cli.common import (
    EXIT_NOT_REACHED,
    json_option,
    open_queue,
    print_json,
    progress_bar,
    the_bucket,
)
from penstock_worker.cli.look import filter_of, filters
from penstock_worker.settings import read_settings

_MOVED = {"m": "moved", "=": "has that priority already", "i": "is in flight already", "-": "is not in the queue"}
_PURGED = {"p": "purged", "i": "left, because it is in flight", "-": "gone or replaced by a newer write meanwhile"}


@click.command(epilog="\b\nExamples:\n  penstock queue move reports/42.json --priority critical")
@click.argument("key")
@click.option("--priority", type=click.Choice(PRIORITIES), required=True)
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@json_option
def move(key: str, priority: str, bucket: str | None, as_json: bool) -> None:
    """Give the waiting write of KEY another priority. It keeps its age."""
    settings = read_settings()
    bucket = the_bucket(settings, bucket)
    with (
        open_queue(settings) as queue,
        audited(queue, "queue move", bucket=bucket, key=key, priority=priority) as tally,
    ):
        answer = change.move(queue, bucket, key, priority)
        tally.count = int(answer == "m")
    if as_json:
        print_json({"bucket": bucket, "key": key, "moved": answer == "m"})
    else:
        click.echo(f"{bucket}/{key} {_MOVED[answer]}")
    sys.exit(0 if answer in "m=" else EXIT_NOT_REACHED)


@click.command(
    short_help="Remove waiting writes for good.",
    epilog="\b\nExamples:\n  penstock queue purge --bucket old-reports\n"
    "  penstock queue purge --state delayed --prefix tmp/ --yes",
)
@click.option("--all", "everything", is_flag=True, help="Everything that waits.")
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(everything: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Remove waiting writes for good, with their payloads: those that the options pick, or --all. It asks first.

    They were accepted, and will never be uploaded. What is in flight is left, and so is a write that is accepted for
    one of the keys meanwhile. It looks at every write in the queue, twice.
    """
    if everything == any(value is not None for value in options.values()):
        raise click.UsageError("say which: --bucket, --tenant, --prefix, --priority, --state, or --all")
    if options["state"] == look.State.INFLIGHT.value:
        raise click.UsageError("--state inflight: what is in flight cannot be purged")
    given = {"all": everything, **options}
    where = filter_of(options)
    answers: Counter[str] = Counter()
    with open_queue(read_settings()) as queue:
        total = sum(len(page) for page in look.pages(queue, where, whole=True))
        if total and not yes:
            click.confirm(f"Remove {total:,} accepted writes for good, unsaved?", abort=True, err=True)
        with audited(queue, "queue purge", **given) as tally, progress_bar(quiet=as_json) as progress:
            task = progress.add_task("purging", total=total)
            for page in look.pages(queue, where, whole=True):
                answers.update(change.purge(queue, page))
                tally.count = answers["p"]
                progress.advance(task, len(page))
    if as_json:
        print_json({"purged": answers["p"], "in_flight": answers["i"], "gone": answers["-"]})
        return
    for letter, text in _PURGED.items():
        if answers[letter] or letter == "p":
            click.echo(f"{answers[letter]:,} {text}")
