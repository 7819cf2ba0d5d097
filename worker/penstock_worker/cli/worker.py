"""``penstock worker``."""

from __future__ import annotations

import logging
import os
import sys

import click

from penstock_worker import logs
from penstock_worker.settings import read_settings


@click.command(
    epilog="""\b
Examples:
  PENSTOCK_REDIS_URL=redis://localhost:6379/0 penstock worker
  PENSTOCK_CONFIG=/etc/penstock.toml penstock worker
"""
)
def worker() -> None:
    """Run a worker: claims writes from the queue and uploads them, until SIGTERM or Ctrl-C.

    It then finishes what is in flight within PENSTOCK_STOP_TIMEOUT seconds and gives the rest back; a second signal
    stops it at once. More capacity is more of these processes.
    """
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format)
    from penstock_worker.daemon import run_worker  # boto3 and dramatiq take a while; --help need not

    status = run_worker(settings)
    logging.shutdown()
    sys.stderr.flush()
    # Everything is given back by now. A thread in a hung request would hold an ordinary exit up until its time limit.
    os._exit(status)
