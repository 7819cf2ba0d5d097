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
NAMED = ("warning", "broken")
"""What the last line names: it may be all that is left on a small screen."""
CHECK_WIDTH = 22
STYLES = {"ok": "green", "warning": "yellow", "broken": "bold red", "skipped": "dim"}


@click.command(
    short_help="Check what would hurt later, and say what to do.",
    epilog="""\b
Examples:
  penstock doctor
  penstock doctor --no-s3
  penstock doctor --json | jq '.checks[] | select(.status == "broken")'
""",
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
    """Check what would hurt later: Redis, S3, clocks, workers and settings.

    Puts one small object into the bucket, reads it and deletes it; changes nothing in Redis. Every check is bounded
    in time, and none stops the others.

    Exit status 0 when all is well, 1 with warnings, 2 when something is broken.
    """
    results, out = [], console()
    for result in _results(bucket, prefix, use_s3=not no_s3):
        results.append(result)
        if not as_json:
            out.print(_drawn(result))  # as they come: one that waits for S3 takes seconds
    found = [result.status.value for result in results]
    status = max((one for one in found if one in EXIT_STATUS), key=lambda one: EXIT_STATUS[one], default="ok")
    if as_json:
        print_json({"status": status, "checks": [result.as_json() for result in results]})
    else:
        out.print(Text(_summary(results), style=STYLES[status]))
    sys.exit(EXIT_STATUS[status])


def _results(bucket: str | None, prefix: str, *, use_s3: bool) -> Iterator[Result]:
    # boto3 takes half a second; `penstock --help` need not.
    from penstock_worker.doctor.base import Result, Status, run_checks
    from penstock_worker.doctor.redis_checks import REDIS_CHECKS
    from penstock_worker.doctor.s3_checks import S3_CHECKS
    from penstock_worker.doctor.settings_checks import SETTINGS_CHECKS
    from penstock_worker.doctor.shard_checks import SHARD_CHECKS
    from penstock_worker.doctor.site import Site
    from penstock_worker.doctor.spool_checks import SPOOL_CHECKS
    from penstock_worker.doctor.worker_checks import WORKER_CHECKS

    try:
        settings = read_settings()
    except InvalidSetting as error:
        yield Result("settings", Status.BROKEN, str(error), "correct it; nothing else can be checked before")
        return
    yield Result("settings", Status.OK, "all known, all within their limits", "")
    site = Site(settings, bucket=bucket, prefix=prefix, use_s3=use_s3)
    yield from run_checks(
        (*SETTINGS_CHECKS, *REDIS_CHECKS, *SHARD_CHECKS, *WORKER_CHECKS, *SPOOL_CHECKS, *S3_CHECKS), site
    )


def _drawn(result: Result) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=max(len(status) for status in STYLES), no_wrap=True)
    table.add_column(width=CHECK_WIDTH, no_wrap=True)
    table.add_column(overflow="fold")
    # Text, not markup: what S3 and Redis say may hold brackets.
    status = Text(result.status.value, style=STYLES[result.status.value])
    table.add_row(status, result.check, Text(result.found))
    if result.remedy:
        table.add_row("", "", Text(f"→ {result.remedy}", style="bold"))
    return table


def _summary(results: list[Result]) -> str:
    """How many are well, and which are not."""
    by_status = {status: [one.check for one in results if one.status.value == status] for status in STYLES}
    parts = [f"{len(checks)} {status}" for status, checks in by_status.items() if checks and status not in NAMED]
    parts += [
        f"{len(by_status[status])} {status}: {', '.join(by_status[status])}" for status in NAMED if by_status[status]
    ]
    return "; ".join(parts)
