"""The command line: ``penstock …``. Exit status 0 done, 1 not reached, 2 wrong use or setting."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from penstock import __version__
from penstock.errors import InvalidSetting, InvalidWrite, PenstockError
from penstock_worker.cli import audit, dead, demo, doctor, exporter, objects, queue, worker
from penstock_worker.cli.common import EXIT_INTERRUPTED, EXIT_NOT_REACHED, EXIT_WRONG_USE


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings come from the environment (PENSTOCK_…) and from the TOML file that PENSTOCK_CONFIG names.",
)
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """A durable write-behind queue for S3."""


cli.add_command(worker.worker)
cli.add_command(exporter.exporter)
cli.add_command(demo.demo)
cli.add_command(doctor.doctor)
cli.add_command(objects.put)
cli.add_command(objects.get)
cli.add_command(queue.queue)
cli.add_command(dead.dead)
cli.add_command(audit.audit)


def main() -> None:
    """Entry point: errors of ours are one line on stderr, never a traceback."""
    try:
        cli.main(standalone_mode=False)
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
    click.echo(f"penstock: {message}", err=True)
    sys.exit(status)
