"""``penstock doctor``: what would hurt later, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from penstock.errors import InvalidSetting
from penstock_worker.cli.common import console, json_option, print_json
from penstock_worker.settings import read_settings

if TYPE_CHECKING:
    from penstock_worker.doctor.base import Result

EXIT_STATUS = {"ok": 0, "warning": 1, "broken": 2}
STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red", "skipped": "dim"}


@click.command(
    epilog="""\b
Examples:
  penstock doctor
  penstock doctor --no-s3
  penstock doctor --json | jq '.checks[] | select(.status == "broken")'
"""
)
@click.option("--bucket", help="Instead of PENSTOCK_BUCKET.")
@click.option(
    "--prefix",
    default="penstock-doctor/",
    show_default=True,
    help="Where the scratch object is put, read and deleted, for credentials that may not write everywhere.",
)
@click.option("--no-s3", is_flag=True, help="Leave S3 out, on a host that only produces.")
@json_option
def doctor(bucket: str | None, prefix: str, no_s3: bool, as_json: bool) -> None:
    """Check what would hurt later: Redis, S3, clocks and settings.

    Puts one small object into the bucket, reads it and deletes it; changes nothing in Redis. Every check is bounded
    in time, and none stops the others.

    Exit status 0 when all is well, 1 with warnings, 2 when something is broken.
    """
    results = list(_results(bucket, prefix, use_s3=not no_s3))
    found = [result.status.value for result in results]
    status = max((one for one in found if one in EXIT_STATUS), key=lambda one: EXIT_STATUS[one], default="ok")
    if as_json:
        print_json({"status": status, "checks": [result.as_json() for result in results]})
    else:
        console().print(_table(results))
        counts = [f"{found.count(one)} {one}" for one in STYLES if one in found]
        console().print(Text(", ".join(counts), style=STYLES[status]))
    sys.exit(EXIT_STATUS[status])


def _results(bucket: str | None, prefix: str, *, use_s3: bool) -> Iterator[Result]:
    # boto3 takes half a second; `penstock --help` need not.
    from penstock_worker.doctor.base import Result, Status, run_checks
    from penstock_worker.doctor.redis_checks import REDIS_CHECKS
    from penstock_worker.doctor.s3_checks import S3_CHECKS
    from penstock_worker.doctor.settings_checks import SETTINGS_CHECKS
    from penstock_worker.doctor.site import Site

    try:
        settings = read_settings()
    except InvalidSetting as error:
        yield Result("settings", Status.BROKEN, str(error), "correct it; nothing else can be checked before")
        return
    yield Result("settings", Status.OK, "all known, all within their limits", "")
    site = Site(settings, bucket=bucket, prefix=prefix, use_s3=use_s3)
    yield from run_checks((*SETTINGS_CHECKS, *REDIS_CHECKS, *S3_CHECKS), site)


def _table(results: list[Result]) -> Table:
    table = Table(show_lines=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for result in results:
        # Text, not markup: what S3 and Redis say may hold brackets.
        status = Text(result.status.value, style=STYLES[result.status.value])
        table.add_row(result.check, status, Text(result.found), Text(result.remedy))
    return table
