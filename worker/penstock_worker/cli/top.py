"""``penstock top``: the queue and its workers, live."""

from __future__ import annotations

import click

from penstock_worker.cli.common import console, json_option
from penstock_worker.settings import read_settings

LIVE_SECONDS = 2.0
ONCE_SECONDS = 1.0


@click.command(
    short_help="Watch the queue and its workers.",
    epilog="""\b
Examples:
  penstock top
  penstock top --interval 0.5
  penstock top --once
  penstock top --json | jq '.workers[] | select(.alive)'
  penstock top --json --interval 10 >> top.jsonl
""",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    help=f"Seconds between two looks.  [default: {LIVE_SECONDS:g}; with --once {ONCE_SECONDS:g}]",
)
@click.option("--once", is_flag=True, help="Print one frame and end; so does an output that is no terminal.")
@json_option
def top(interval: float | None, once: bool, as_json: bool) -> None:
    """Watch the queue by priority and flow, its throughput, latency, errors, what is held up, workers, dead letters.

    One frame takes two looks, since rates need them. With --json one object is printed, or, with an --interval and
    without --once, one in a line each time. A Redis that goes away and comes back is shown as such.

    Each look takes Redis the same few milliseconds, whatever waits. Ctrl-C ends it.
    """
    from penstock_worker.top import screen  # --help need not load it

    settings = read_settings()
    out = console()
    if as_json and interval is not None and not once:
        screen.stream(settings, interval)
    elif as_json:
        screen.print_object(settings, interval or ONCE_SECONDS)
    elif once or not out.is_terminal:
        screen.print_frame(settings, interval or ONCE_SECONDS, out)
    else:
        screen.watch(settings, interval or LIVE_SECONDS, out)
