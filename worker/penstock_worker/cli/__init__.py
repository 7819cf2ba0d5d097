"""The command line: ``penstock …``. Exit status 0 done, 1 not reached, 2 wrong use or setting."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from penstock import __version__
from penstock.errors import InvalidSetting, InvalidWrite, PenstockError
from penstock_worker.cli import alerts, audit, dead, demo, doctor, exporter, objects, queue, spool, top, worker
from penstock_worker.cli.common import EXIT_INTERRUPTED, EXIT_NOT_REACHED, EXIT_WRONG_USE
from penstock_worker.cli.sections import SectionedGroup


@click.group(
    cls=SectionedGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  penstock demo                      all of it on this machine, nothing to set up
  penstock doctor                    before the first worker, and when something is odd
  penstock worker
  penstock top                       the queue and its workers, live

Settings come from the environment (PENSTOCK_…) and from the TOML file that PENSTOCK_CONFIG names. `penstock COMMAND
--help` has examples of each. Exit status: 0 done, 1 not reached, 2 wrong use or setting.
""",
)
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """A durable write-behind queue for S3: applications put, Redis keeps, a worker uploads."""


cli.add_section("Run", worker.worker, exporter.exporter, demo.demo)
cli.add_section(
    "Look after the queue", top.top, doctor.doctor, queue.queue, dead.dead, spool.spool, audit.audit, alerts.alerts
)
cli.add_section("One object by hand", objects.put, objects.get)


def main() -> None:
    """Entry point: errors of ours are one line on stderr, never a traceback."""
    try:
        # One name however it was started: completion goes by it.
        cli.main(prog_name="penstock", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        _fail("stopped", EXIT_INTERRUPTED)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
        _fail(error.format_message() + hint, EXIT_WRONG_USE)
    except click.ClickException as error:
        _fail(error.format_message(), EXIT_NOT_REACHED)
    except (InvalidSetting, InvalidWrite) as error:
        _fail(str(error), EXIT_WRONG_USE)
    except PenstockError as error:
        _fail(str(error), EXIT_NOT_REACHED)


def _fail(message: str, status: int) -> NoReturn:
    line = " ".join(part.strip() for part in message.splitlines())  # click's lists of choices are several
    click.echo(f"penstock: {line}", err=True)
    sys.exit(status)
