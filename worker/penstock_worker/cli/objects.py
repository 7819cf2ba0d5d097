"""``penstock put`` and ``penstock get``: one object by hand, the way an application and a reader do it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from penstock import Producer
from penstock.queue.names import PRIORITIES
from penstock_worker import compress
from penstock_worker.cli.common import EXIT_NOT_REACHED, json_option, print_fields, print_json, the_bucket
from penstock_worker.settings import WorkerSettings, read_settings
from penstock_worker.startup import make_store
from penstock_worker.stores import ObjectInfo, StoreFault


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


@dataclass(frozen=True, slots=True)
class _Found:
    """An object as it was read. ``body`` is None, with the reason in ``problem``, when it could not be decoded."""

    info: ObjectInfo
    body: bytes | None
    problem: str = ""

    @property
    def expected(self) -> str | None:
        """The SHA-256 that was taken when it was put; None when Penstock did not write it."""
        return self.info.metadata.get("penstock-sha256")

    @property
    def sha256(self) -> str | None:
        return None if self.body is None else hashlib.sha256(self.body).hexdigest()

    @property
    def intact(self) -> bool | None:
        """Whether it is what was put; None when Penstock did not write it."""
        return None if self.expected is None else self.sha256 == self.expected


@click.command(
    short_help="Read the object KEY from S3, decoded and checked.",
    epilog="""\b
Examples:
  penstock get reports/42.json
  penstock get logs.tar --output logs.tar
  penstock get reports/42.json --info
""",
)
@click.argument("key")
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--info", is_flag=True, help="Show what the object says of itself, and whether that is so; not its body.")
@json_option
def get(key: str, bucket: str | None, output: Path | None, info: bool, as_json: bool) -> None:
    """Read the object KEY from S3, decoded, and check it against the SHA-256 that was taken when it was put.

    A write that still waits in the queue is not seen. --info (or --json, which is the same for programs) shows the
    object's sequence number and checksums instead of its body. Exit status 1 when it is not what was put.
    """
    settings = read_settings()
    bucket = the_bucket(settings, bucket)
    if output is not None and (info or as_json):
        raise click.UsageError("--output takes the body, which --info and --json do not print")
    found = _read(settings, bucket, key)
    if info or as_json:
        _show({"bucket": bucket, "key": key, **_info_json(found)}, as_json=as_json)
        if found.intact is False:
            sys.exit(EXIT_NOT_REACHED)
        return
    if found.body is None:
        raise click.ClickException(f"{bucket}/{key}: {found.problem}")
    if found.expected is None:
        click.echo(f"{bucket}/{key}: not written by Penstock, so it is not checked", err=True)
    elif not found.intact:
        raise click.ClickException(f"{bucket}/{key}: the body does not match its SHA-256 {found.expected}")
    if output is None:
        sys.stdout.buffer.write(found.body)
    else:
        try:
            output.write_bytes(found.body)
        except OSError as error:
            raise click.ClickException(f"{output}: {error.strerror}") from error


def _info_json(found: _Found) -> dict[str, Any]:
    """The documented form of ``get --json``, but for bucket and key."""
    seq = found.info.metadata.get("penstock-seq", "")
    return {
        "seq": int(seq) if seq.isdecimal() else None,
        "intact": found.intact,
        "sha256_put": found.expected,
        "sha256_read": found.sha256,
        "problem": found.problem or None,
        "body_size": None if found.body is None else len(found.body),
        "stored_size": found.info.size,
        "content_encoding": found.info.content_encoding,
        "content_type": found.info.content_type,
        "etag": found.info.etag,
        "metadata": {name: text for name, text in found.info.metadata.items() if not name.startswith("penstock-")},
    }


def _show(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    intact = {True: "yes", False: "no", None: "unknown: not written by Penstock"}[shown["intact"]]
    print_fields(shown | {"intact": intact})


def _read(settings: WorkerSettings, bucket: str, key: str) -> _Found:
    store = make_store(msgspec.structs.replace(settings, s3_engine="boto3"))
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
        return _Found(info, compress.decode(stored, info.content_encoding))
    except ValueError as error:
        return _Found(info, None, str(error))
