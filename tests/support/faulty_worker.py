"""`penstock worker` with something wrong inside: ``python -m tests.support.faulty_worker [options] worker``.

It wraps functions of the worker before it starts it, so that the worker itself has no switch for any of this.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.httpsession import URLLib3Session

from penstock.queue import client
from penstock.queue.client import Queue
from penstock_worker import clock, compress, failures, guard
from penstock_worker.cli import main
from penstock_worker.held import HeldClaim
from penstock_worker.stores import PutRequest
from penstock_worker.stores.object_store import ObstoreStore
from tests.support.wait import wait_until

SETTLE_STEP = 3
"""Writes a settle call, so that a batch takes several and a process can die between two."""
START_LIMIT = 100.0
"""Seconds, against hangs only."""

Hit = Callable[[], None]


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Puts ``around`` in the place of a function: it gets the original, and then the arguments of the call."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapped)


def _after(owner: Any, name: str, hit: Hit, when: Callable[[Any], object] = lambda result: True) -> None:
    def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if when(result):
            hit()
        return result

    wrap(owner, name, around)


def _at_script(name: str, hit: Hit, *, before: bool) -> None:
    def around(run: Callable[..., Any], queue: Queue, script: str, *args: Any) -> Any:
        if script == name and before:
            hit()
        answer = run(queue, script, *args)
        if script == name and not before:
            hit()
        return answer

    wrap(Queue, "run", around)


def _in_settle(hit: Hit) -> None:
    client.SETTLE_STEP = SETTLE_STEP
    _at_script("settle", hit, before=False)


def _in_sweep(hit: Hit) -> None:
    def around(sweep: Callable[..., Any], queue: Queue, **kwargs: Any) -> Any:
        swept = sweep(queue, **{**kwargs, "limit": 1})
        if swept.taken_back and swept.more:
            hit()
        return swept

    wrap(Queue, "sweep", around)


def _before(owner: Any, name: str, hit: Hit) -> None:
    def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        hit()
        return original(*args, **kwargs)

    wrap(owner, name, around)


STEPS: dict[str, Callable[[Hit], None]] = {
    "after_claim": lambda hit: _after(Queue, "claim", hit, lambda reply: reply.batches),
    "after_compress": lambda hit: _after(compress, "encode_many", hit, lambda encoded: encoded),
    "after_check": lambda hit: _after(HeldClaim, "may_send", hit),
    "before_send": lambda hit: _before(URLLib3Session, "send", hit),
    "after_put": lambda hit: _after(ObstoreStore, "put", hit),
    "in_settle": _in_settle,
    "after_settle": lambda hit: _after(Queue, "settle", hit),
    "in_sweep": _in_sweep,
    "in_guard": lambda hit: _at_script("guard_settle", hit, before=True),
}
"""Where a process may be hit. ``after_check``: of the lease. ``before_send``: after boto3's signature and that check.
``in_settle`` and ``in_sweep``: between two of several calls that belong together. ``in_guard``: between look and
verdict."""


def _hit_on(number: int, kind: signal.Signals) -> Hit:
    count = itertools.count(1)

    def hit() -> None:
        if next(count) == number:
            os.kill(os.getpid(), kind)
            time.sleep(1)  # the signal is for the process: this thread must not get on before it works

    return hit


def _die_on_key(marked: str) -> None:
    def around(put: Callable[..., None], store: ObstoreStore, request: PutRequest, check: Callable[[], None]) -> None:
        if marked in request.key:
            os._exit(1)
        put(store, request, check)

    wrap(ObstoreStore, "put", around)


def _shift_clock(path: Path) -> None:
    """The worker's clock is ahead by the seconds that the file holds, as long as there is one."""

    def wall() -> float:
        try:
            return time.time() + float(path.read_text())
        except FileNotFoundError:
            return time.time()

    wrap(clock.Clock, "__init__", lambda start, *args, **kwargs: start(*args, **{**kwargs, "wall": wall}))


def _put_off(seconds: str) -> None:
    low, high = seconds.split("-")
    failures.LONG_BACKOFF = float(low), float(high)


def program(*options: str) -> tuple[str, ...]:
    """For `WorkerProcess(program=…)`."""
    return (sys.executable, "-m", "tests.support.faulty_worker", *options)


def run() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", choices=sorted(STEPS), help="the step at which a signal hits the process")
    parser.add_argument("--nth", type=int, default=1, help="on the how manieth time")
    parser.add_argument("--signal", default="SIGKILL")
    parser.add_argument("--die-on-key", help="exit in mid-upload of a key that contains this")
    parser.add_argument("--clock-file", type=Path, help="seconds that the clock is ahead, while the file is there")
    parser.add_argument("--put-off", help="seconds that an outage puts a write off by, as in 0.5-2")
    parser.add_argument("--recheck", type=float, help="seconds between two looks of the guard, at all and at a name")
    parser.add_argument("--after", type=Path, help="begin when this file is there: starting takes a while by itself")
    parser.add_argument("command")
    options = parser.parse_args()
    if options.at:
        STEPS[options.at](_hit_on(options.nth, signal.Signals[options.signal]))
    if options.die_on_key:
        _die_on_key(options.die_on_key)
    if options.clock_file:
        _shift_clock(options.clock_file)
    if options.put_off:
        _put_off(options.put_off)
    if options.recheck:
        guard.BUSY_SECONDS = guard.LONGEST_SLEEP = options.recheck
    if options.after:
        wait_until(options.after.exists, START_LIMIT, "it may begin")
    sys.argv = ["penstock", options.command]
    main()


if __name__ == "__main__":
    run()
