"""``penstock put`` and ``penstock get``: one object by hand, the way an application and a reader do it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click

from penstock import Producer
from penstock.queue.names import PRIORITIES
from penstock_worker import compress
from penstock_worker.cli.common import EXIT_NOT_REACHED, json_option, print_json
from penstock_worker.settings import WorkerSettings, read_settings
from penstock_worker.stores import StoreFault, open_store


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE")
        pairs[name] = text
    return pairs


@click.command(
    epilog="""\b
Examples:
  penstock put reports/42.json report.json --content-type application/json
  tar c logs | penstock put logs.tar - --tag ttl_days=7 --priority low
"""
)
@click.argument("key")
@click.argument("file", type=click.File("rb"))
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@click.option("--priority", type=click.Choice(PRIORITIES), default="normal", show_default=True)
@click.option("--content-type")
@click.option("--tag", "tags", multiple=True, callback=_pairs, metavar="NAME=VALUE")
@click.option("--metadata", multiple=True, callback=_pairs, metavar="NAME=VALUE")
@click.option("--tenant", default="")
@click.option("--compression", type=click.Choice(["zstd", "none"]), default="zstd", show_default=True)
@json_option
def put(
    key: str,
    file: BinaryIO,
    bucket: str | None,
    priority: str,
    content_type: str | None,
    tags: dict[str, str],
    metadata: dict[str, str],
    tenant: str,
    compression: str,
    as_json: bool,
) -> None:
    """Put FILE (- for standard input) into the queue as KEY.

    Done when the write is safe in Redis; a worker uploads it.
    """
    settings = read_settings()
    with Producer(
        settings.redis_url,
        queue=settings.queue,
        bucket=settings.bucket,
        timeout=settings.producer_timeout,
        max_body_bytes=settings.max_body_bytes,
        durability=settings.durability,
    ) as producer:
        receipt = producer.put(
            key,
            file.read(settings.max_body_bytes + 1),
            bucket=bucket,
            priority=priority,
            content_type=content_type,
            tags=tags,
            metadata=metadata,
            tenant=tenant,
            compression=compression,
        )
    if as_json:
        print_json(asdict(receipt))
    else:
        click.echo(f"accepted as {receipt.seq}" + (", in place of a waiting write" if receipt.coalesced else ""))


@click.command(
    short_help="Read the object KEY from S3, decoded and checked.",
    epilog="""\b
Examples:
  penstock get reports/42.json
  penstock get logs.tar --output logs.tar
""",
)
@click.argument("key")
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def get(key: str, bucket: str | None, output: Path | None) -> None:
    """Read the object KEY from S3, decoded, and check it against the SHA-256 that was taken when it was put.

    A write that still waits in the queue is not seen.
    """
    settings = read_settings()
    body = _read(settings, bucket or settings.bucket, key)
    if output is None:
        sys.stdout.buffer.write(body)
    else:
        output.write_bytes(body)


def _read(settings: WorkerSettings, bucket: str | None, key: str) -> bytes:
    if bucket is None:
        raise click.UsageError("no bucket: give --bucket or set PENSTOCK_BUCKET")
    store = open_store("boto3", settings.store_config())
    try:
        found = store.get(bucket, key)
    except StoreFault as fault:
        raise click.ClickException(f"{bucket}/{key}: {fault}") from fault
    finally:
        store.close()
    if found is None:
        raise click.ClickException(f"{bucket}/{key}: no such object (it may still wait in the queue)")
    info, stored = found
    try:
        body = compress.decode(stored, info.content_encoding)
    except ValueError as error:
        raise click.ClickException(f"{bucket}/{key}: {error}") from error
    expected = info.metadata.get("penstock-sha256")
    if expected is None:
        click.echo(f"{bucket}/{key}: not written by Penstock, so it is not checked", err=True)
    elif hashlib.sha256(body).hexdigest() != expected:
        click.echo(f"{bucket}/{key}: the body does not match its SHA-256 {expected}", err=True)
        sys.exit(EXIT_NOT_REACHED)
    return body
