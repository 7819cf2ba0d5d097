"""Which dead letters a command is about: keys, or --all with filters."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from penstock.queue.dead import DeadFilter, DeadRef, pages
from penstock.queue.sharded import AnyQueue
from penstock_worker.cli.common import the_bucket
from penstock_worker.settings import WorkerSettings

_AGE = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

F = TypeVar("F", bound=Callable[..., Any])


class AgeType(click.ParamType[int]):
    """A time span: 90s, 30m, 12h, 7d. Converted to seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _AGE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r}: expected an age such as 90s, 30m, 12h or 7d", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


def filters(command: F) -> F:
    """The options that pick dead letters; a command hands what it got to `filter_of` or `pick`."""
    for option in (
        click.option("--older-than", type=AgeType(), help="Dead for longer than this: 90s, 30m, 12h, 7d."),
        click.option("--tenant", help="Only this tenant; '' is the one without a name."),
        click.option("--bucket", help="Only this bucket; with keys, theirs, instead of PENSTOCK_BUCKET."),
        click.option("--code", help="Only those that failed with this code, such as InvalidTag."),
    ):
        command = option(command)
    return command


def filter_of(options: dict[str, Any]) -> DeadFilter:
    older = options["older_than"]
    died_before = None if older is None else time.time() - older
    return DeadFilter(options["code"], options["bucket"], options["tenant"], died_before)


def pick(
    queue: AnyQueue, settings: WorkerSettings, keys: tuple[str, ...], everything: bool, options: dict[str, Any]
) -> Iterator[list[DeadRef]]:
    """The dead letters, oldest first: a list a key, or with ``everything`` one a letter."""
    if bool(keys) == everything:
        raise click.UsageError("give keys, or --all")
    if everything:
        where = filter_of(options)
        return (
            [DeadRef(letter.bucket, letter.key, letter.seq)] for page in list(pages(queue, where)) for letter in page
        )
    if any(options[name] is not None for name in ("code", "tenant", "older_than")):
        raise click.UsageError("--code, --tenant and --older-than go with --all")
    bucket = the_bucket(settings, options["bucket"])
    found = []
    for key in keys:
        refs = [DeadRef(bucket, key, seq) for seq in queue.of(bucket, key).dead_seqs(bucket, key)]
        if not refs:
            raise click.ClickException(f"{bucket}/{key}: no dead letter")
        found.append(refs)
    return iter(found)
