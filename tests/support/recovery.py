"""A fault of Redis under load: what callers saw, how soon writes are accepted and stored again, and the verdict.

``PENSTOCK_FAULT_SECONDS=60`` makes each fault last that long at least; by itself it lasts until callers have met it.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from tests.support.fault_s3 import FaultS3
from tests.support.oracle import Oracle, Summary
from tests.support.wait import wait_until
from tests.support.writers import Writers

LIMIT = 60.0
"""Seconds beside the fault's own, against hangs only."""
ERRORS = 3
MORE = 60
"""Writes accepted and landed before and after."""
PRODUCERS = 3


def holds() -> float:
    """Seconds that a fault lasts at least."""
    return float(os.environ.get("PENSTOCK_FAULT_SECONDS", 0))


def longest_gap(times: Iterable[float], since: float) -> float:
    """The longest time from ``since`` on in which nothing happened, seconds."""
    after = sorted([since, *(at for at in times if at > since)])
    return max((later - at for at, later in itertools.pairwise(after)), default=0.0)


class Trial:
    """One queue under load, which meets one fault after the other.

    Args:
        timeout: of the producers' calls, seconds: short, so that callers see a short fault too.
    """

    def __init__(self, url: str, queue: str, store: FaultS3, oracle: Oracle, *, timeout: float = 1.0) -> None:
        self._url = url
        self._queue = queue
        self._store = store
        self._oracle = oracle
        self._timeout = timeout

    def run(self, name: str, fault: Callable[[], AbstractContextManager[None]]) -> Summary:
        """Load, the fault, load, the oracle's verdict; prints a line for the table in docs/reliability.md."""
        ledger = self._oracle.ledger
        with Writers(self._url, self._queue, ledger, producers=PRODUCERS, timeout=self._timeout) as writers:
            self._wait_for_more()
            with fault():
                began = time.monotonic()
                limit = holds() + LIMIT
                wait_until(lambda: writers.errors.total() >= ERRORS, limit, f"callers meet the fault: {name}")
                wait_until(lambda: time.monotonic() >= began + holds(), limit, f"it lasts: {name}")
                # Requests that were under way have ended: what lands from now on was claimed after the fault.
                landed, accepted = self._store.landed, ledger.count
            ended = time.monotonic()
            goes_on = self._wait_for_first(accepted, landed, ended)
            self._wait_for_more()
        summary = self._oracle.check()
        self._oracle.begin_round()
        told = ", ".join(f"{error} {count}x" for error, count in sorted(writers.errors.items()))
        print(
            f"FAULT {name}, {ended - began:.1f} s | callers: {told} | accepted again after {goes_on[0]:.2f} s, "
            f"stored again after {goes_on[1]:.2f} s, all of it after {summary.recovery:.1f} s | "
            f"lost {summary.lost} of {summary.accepted}"
        )
        return summary

    def _wait_for_first(self, accepted: int, landed: int, ended: float) -> tuple[float, float]:
        """Seconds until a write was accepted, and until one was stored."""
        times: list[float | None] = [None, None]

        def both() -> bool:
            for at, is_over in enumerate((self._oracle.ledger.count > accepted, self._store.landed > landed)):
                if is_over and times[at] is None:
                    times[at] = time.monotonic() - ended
            return None not in times

        wait_until(both, LIMIT, "producers and workers go on")
        return times[0] or 0.0, times[1] or 0.0

    def _wait_for_more(self) -> None:
        accepted, landed = self._oracle.ledger.count + MORE, self._store.landed + MORE
        wait_until(
            lambda: self._oracle.ledger.count >= accepted and self._store.landed >= landed, LIMIT, "the load goes on"
        )
