"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01
"""Short against anything a test waits for, long against a look at Redis or at a process."""


def wait_until(condition: Callable[[], T], timeout: float, what: str) -> T:
    """Call ``condition`` until it returns something true, and return that.

    Looks once more after the time limit, so that a machine that stood still for a while does not fail the
    test. Raises AssertionError naming ``what`` when ``timeout`` seconds were not enough; an exception out
    of ``condition`` is the caller's and passes through.
    """
    deadline = time.monotonic() + timeout
    while True:
        last_look = time.monotonic() >= deadline
        found = condition()
        if found:
            return found
        if last_look:
            raise AssertionError(f"not within {timeout:g} s: {what} (last seen: {found!r})")
        time.sleep(POLL_SECONDS)
