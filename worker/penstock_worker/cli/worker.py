"""``penstock worker``."""

from __future__ import annotations

import logging
import os
import sys

import click

from penstock.queue.connection import show_url
from penstock_worker import logs
from penstock_worker.cli.common import redis_errors
from penstock_worker.settings import WorkerSettings, read_settings


@click.command(
    short_help="Claim writes from the queue and upload them.",
    epilog="""\b
Examples:
  PENSTOCK_REDIS_URL=redis://localhost:6379/0 penstock worker
  PENSTOCK_CONFIG=/etc/penstock.toml penstock worker
  penstock worker --check && systemctl restart penstock-worker
""",
)
@click.option("--check", "only_check", is_flag=True, help="Only try whether a worker could start here, and say so.")
def worker(only_check: bool) -> None:
    """Run a worker: claims writes from the queue and uploads them, until SIGTERM or Ctrl-C.

    It then finishes what is in flight within PENSTOCK_STOP_TIMEOUT seconds and gives the rest back; a second signal
    stops it at once. More capacity is more of these processes.

    With --check: exit status 0 when the settings are right, Redis answers and an S3 client can be made; 1 when Redis
    does not answer; 2 when a setting is wrong. `penstock doctor` looks deeper.
    """
    settings = read_settings()
    if only_check:
        _check(settings)
        return
    logs.configure(settings.log_level, settings.log_format)
    from penstock_worker.daemon import run_worker  # boto3 and dramatiq take a while; --help need not

    status = run_worker(settings)
    logging.shutdown()
    sys.stderr.flush()
    # Everything is given back by now. A thread in a hung request would hold an ordinary exit up until its time limit.
    os._exit(status)


def _check(settings: WorkerSettings) -> None:
    from penstock_worker import startup  # as above

    with redis_errors(settings):
        startup.check(settings)
    click.echo(f"OK: queue {settings.queue} at {show_url(settings.redis_url)}, {settings.s3_engine} for S3")
