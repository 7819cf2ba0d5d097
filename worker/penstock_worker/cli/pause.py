"""``penstock queue pause`` and ``resume``: hold up the queue, a bucket or a tenant, and let it go on."""

from __future__ import annotations

import click

from penstock.queue import blocks
from penstock.queue.results import Block
from penstock_worker.cli.audit import audited
from penstock_worker.cli.common import json_option, open_queue, print_json, rfc3339, who
from penstock_worker.settings import read_settings


def name_of(bucket: str | None, tenant: str | None) -> str:
    """What a block holds up, for people."""
    if bucket is None:
        return "the whole queue"
    return f"bucket {bucket}" if tenant is None else f"tenant {tenant!r} of bucket {bucket}"


def describe(block: Block) -> str:
    return f"{name_of(block.bucket, block.tenant)} ({block.reason} by {block.note or '?'} since {rfc3339(block.since)})"


def _check(bucket: str | None, tenant: str | None) -> None:
    if tenant is not None and bucket is None:
        raise click.UsageError("--tenant needs --bucket: a tenant is held up in one bucket")


@click.command(
    short_help="Hold up the queue, a bucket, or a tenant of it.",
    epilog="\b\nExamples:\n  penstock queue pause\n  penstock queue pause --bucket reports\n"
    "  penstock queue pause --bucket reports --tenant acme",
)
@click.option("--bucket", help="Only this bucket.")
@click.option("--tenant", help="Only this tenant of the bucket; '' is the one without a name.")
@json_option
def pause(bucket: str | None, tenant: str | None, as_json: bool) -> None:
    """Stop handing out writes: of the whole queue, of a bucket, or of one tenant in it.

    Producers go on, until the queue's limits; what is in flight is finished. It lasts until `penstock queue resume`.
    """
    _check(bucket, tenant)
    with (
        open_queue(read_settings()) as queue,
        audited(queue, "queue pause", bucket=bucket, tenant=tenant) as tally,
    ):
        changed = blocks.block(queue, bucket, tenant, note=who())
        tally.count = int(changed)
    if as_json:
        print_json({"bucket": bucket, "tenant": tenant, "changed": changed})
    else:
        click.echo(f"{name_of(bucket, tenant)} is paused" + ("" if changed else " already"))


@click.command(epilog="\b\nExamples:\n  penstock queue resume\n  penstock queue resume --bucket reports")
@click.option("--bucket", help="Only this bucket.")
@click.option("--tenant", help="Only this tenant of the bucket.")
@json_option
def resume(bucket: str | None, tenant: str | None, as_json: bool) -> None:
    """End what `penstock queue pause` began with the same options.

    What was paused on its own stays paused: resuming the queue resumes no bucket, resuming a bucket no tenant. When it
    is interrupted, the workers bring back the rest.
    """
    _check(bucket, tenant)
    flows = 0

    def count(more: int) -> None:
        nonlocal flows
        flows += more

    with open_queue(read_settings()) as queue:
        with audited(queue, "queue resume", bucket=bucket, tenant=tenant) as tally:
            changed = blocks.unblock(queue, bucket, tenant, progress=count)
            tally.count = int(changed)
        left = [block for block in queue.stats().blocks if block.bucket in (None, bucket)]
    if as_json:
        print_json({"bucket": bucket, "tenant": tenant, "changed": changed, "flows": flows})
        return
    click.echo(f"{name_of(bucket, tenant)} " + (f"goes on; {flows:,} flows came back" if changed else "was not paused"))
    for block in left:
        click.echo(f"still held up: {describe(block)}")
