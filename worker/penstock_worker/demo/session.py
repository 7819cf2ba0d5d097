"""`penstock demo` as a whole: a place to work, the servers, the work, the report, and all of it away again."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from penstock_worker.cli.common import in_bytes, in_seconds
from penstock_worker.demo.files import Found
from penstock_worker.demo.interrupt import Interrupts, Stopped
from penstock_worker.demo.progress import Display
from penstock_worker.demo.run import Run
from penstock_worker.demo.stack import Stack
from penstock_worker.demo.summary import Summary

KEEP_LOOK_SECONDS = 1.0
"""How soon --keep notices that one of its processes has ended."""

Say = Callable[[str], None]


class FailedError(Exception):
    """The demo ran to its end, and something is not as it should be. The report has said what."""


def run_demo(
    directory: Path,
    found: Found,
    interrupts: Interrupts,
    *,
    keep: bool,
    max_bytes: int,
    console: Console,
    report: Callable[[Summary], None],
) -> None:
    """Runs the demo on ``found``; progress goes to ``console``. No process is left, however it ends.

    Raises:
        Stopped: a signal asked it to stop.
        FailedError: an object is wrong, or a write is left.
        ServerError, PenstockError: it could not be finished.
    """
    with Display(console) as display, _workplace(display.say) as place:
        began = time.monotonic()
        with Stack(place, interrupts.check, display.status) as stack:
            display.say(f"Redis, S3 and a worker started in {in_seconds(time.monotonic() - began)}")
            more = ", of more (see --limit)" if found.more else ""
            display.say(f"{len(found.sources):,} files, {in_bytes(found.bytes)}{more}, below")
            display.say(f"  {directory}")
            try:
                summary = Run(stack, display, interrupts, max_bytes).run(directory, found)
                display.end()
                report(summary)
                if keep:
                    _keep(stack, summary, interrupts, display.say)
            except Stopped:
                display.end()
                display.say("stopping")  # the worker ends what it has begun, which may take seconds
                raise
            if summary.problems:
                raise FailedError


def _keep(stack: Stack, summary: Summary, interrupts: Interrupts, say: Say) -> None:
    """Waits for a signal, which raises `Stopped`."""
    penstock = _as_typed()
    key = next((key for key, obligation in summary.enqueued.expected.items() if obligation), "KEY")
    say("\nEverything keeps running until Ctrl-C. Try it from another shell:\n")
    for line in stack.exports():
        say(f"  {line}")
    say("")
    for line in (
        f"{penstock} queue stats",
        f"echo hello | {penstock} put hello.txt -",
        f"{penstock} queue drain",
        f"{penstock} get hello.txt",
        f"{penstock} get {shlex.quote(key)}",
        f"curl {stack.sidecar}/metrics",
    ):
        say(f"  {line}")
    while True:
        stack.require_alive()
        interrupts.wait(KEEP_LOOK_SECONDS)


def _as_typed() -> str:
    """What calls the command line in this shell."""
    if shutil.which("penstock"):
        return "penstock"
    return sys.argv[0] if Path(sys.argv[0]).name == "penstock" else f"{sys.executable} -m penstock_worker"


@contextmanager
def _workplace(say: Say) -> Iterator[Path]:
    """A new directory. It stays when something went wrong in it: the logs are there."""
    directory = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    try:
        yield directory
    except Stopped:
        shutil.rmtree(directory)
        raise
    except BaseException:
        say(f"logs and data are kept in {directory}")
        raise
    shutil.rmtree(directory)
