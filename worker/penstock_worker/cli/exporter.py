"""``penstock exporter``."""

from __future__ import annotations

import sys

import click

from penstock_worker import logs
from penstock_worker.settings import read_settings


@click.command(
    short_help="Serve the queue's gauges without being a worker.",
    epilog="""\b
Examples:
  PENSTOCK_REDIS_URL=redis://localhost:6379/0 penstock exporter
  PENSTOCK_SIDECAR_HOST=0.0.0.0 PENSTOCK_SIDECAR_PORT=9192 penstock exporter
""",
)
def exporter() -> None:
    """Serve the queue's gauges without being a worker, until SIGTERM or Ctrl-C.

    So depth and age are seen, and autoscaling from zero works, while no worker runs. /metrics, /healthz and /readyz
    are on the sidecar's host and port; it claims nothing and needs no S3. One for a queue is enough.
    """
    settings = read_settings()
    logs.configure(settings.log_level, settings.log_format)
    from penstock_worker.exporter import Exporter  # prometheus_client takes a while; --help need not

    sys.exit(Exporter(settings).run())
