"""``penstock dead purge``: dead letters that nobody wants back."""

from __future__ import annotations

from typing import Any

import click

from penstock.queue import dead
from penstock_worker.cli.audit import audited
from penstock_worker.cli.common import json_option, open_queue, print_json, progress_bar
from penstock_worker.cli.dead_pick import filters, pick
from penstock_worker.settings import read_settings


@click.command(
    short_help="Remove dead letters for good, payloads and all.",
    epilog="\b\nExamples:\n  penstock dead export all.jsonl && penstock dead purge --all --older-than 1h\n"
    "  penstock dead purge reports/42.json\n  penstock dead purge --all --code InvalidTag --older-than 7d --yes",
)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="All that the options pick.")
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(keys: tuple[str, ...], everything: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Remove dead letters for good, with their payloads: all letters of each KEY, or --all that the options pick.

    It asks first. `penstock dead export` keeps a copy that `penstock dead import` takes back. What died since the
    export is not in it: --older-than, with more than the export took, leaves that alone.
    """
    settings = read_settings()
    with open_queue(settings) as queue:
        refs = [ref for some in pick(queue, settings, keys, everything, options) for ref in some]
        if refs and not yes:
            click.confirm(f"Remove {len(refs):,} dead letters and their payloads for good?", abort=True, err=True)
        purged = 0
        with (
            audited(queue, "dead purge", keys=keys, all=everything, **options) as tally,
            progress_bar(quiet=as_json) as progress,
        ):
            task = progress.add_task("purging", total=len(refs))
            for at in range(0, len(refs), dead.PURGE_STEP):
                step = refs[at : at + dead.PURGE_STEP]
                purged += sum(dead.purge(shard, seqs) for shard, seqs in dead.by_shard(queue, step))
                tally.count = purged
                progress.advance(task, len(step))
    if as_json:
        print_json({"purged": purged})
    else:
        click.echo(f"{purged:,} dead letters purged")
