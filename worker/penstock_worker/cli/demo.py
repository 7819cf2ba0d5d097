"""``penstock demo``: all of Penstock on this machine, on servers that it starts and stops itself."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import click
from rich.console import Console

from penstock.errors import InvalidSetting
from penstock.settings import ProducerSettings, load_settings
from penstock_worker.cli.common import EXIT_NOT_REACHED, json_option, print_json
from penstock_worker.demo.interrupt import Interrupts, Stopped

DEFAULT_LIMIT = 2000


@click.command(
    epilog="""\b
Examples:
  penstock demo
  penstock demo --dir ~/pictures --limit 200
  penstock demo --keep
  penstock demo --json | jq .accept_seconds
"""
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Where the files are. By default the standard library of this Python.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=DEFAULT_LIMIT, show_default=True, help="Take so many files at most."
)
@click.option("--keep", is_flag=True, help="Leave it all running after the summary, until Ctrl-C.")
@json_option
def demo(directory: Path | None, limit: int, keep: bool, as_json: bool) -> None:
    """Run the whole of Penstock on this machine, on real files.

    Starts a Redis (or Valkey), an S3 (moto's) and a worker, enqueues every file below a directory, overwrites and
    deletes some, waits until the queue is empty, reads every object back and compares it with its file. Nothing that
    PENSTOCK_… or AWS_… variables name is touched, and no process is left.

    Exit status 0 when every object is right and nothing is left; needs the extra: pip install 'penstock[demo]'.
    """
    interrupts = Interrupts()
    interrupts.listen()
    try:
        _run(directory, limit, keep, as_json, interrupts)
    except Stopped as stopped:
        click.echo(f"{stopped}: no process is left", err=True)
        sys.exit(stopped.exit_status)


def _run(directory: Path | None, limit: int, keep: bool, as_json: bool, interrupts: Interrupts) -> None:
    # boto3 and prometheus_client take a while; `penstock --help` need not.
    from penstock_worker.demo import files, session, stack
    from penstock_worker.demo.process import ServerError
    from penstock_worker.demo.report import report as for_people
    from penstock_worker.demo.summary import Summary

    missing = stack.missing_parts()
    if missing is not None:
        raise InvalidSetting(missing)
    directory = Path(sysconfig.get_path("stdlib")) if directory is None else directory.expanduser()
    if not directory.is_dir():
        raise InvalidSetting(f"--dir {directory}: no such directory")
    max_bytes = load_settings(ProducerSettings).max_body_bytes
    found = files.find_files(directory, limit, max_bytes, interrupts.check)
    if not found.sources:
        reasons = "".join(f", {count:,} skipped ({reason})" for reason, count in found.skipped.items())
        raise InvalidSetting(f"--dir {directory}: no file to enqueue below it{reasons}")

    # stdout belongs to the summary when a program reads it.
    console = Console(stderr=as_json, highlight=False)

    def report(summary: Summary) -> None:
        if as_json:
            print_json(summary.as_json())
        else:
            console.print(for_people(summary))

    try:
        session.run_demo(directory, found, interrupts, keep=keep, max_bytes=max_bytes, console=console, report=report)
    except ServerError as error:
        raise click.ClickException(str(error)) from error
    except session.FailedError:
        sys.exit(EXIT_NOT_REACHED)
