"""How fast a backlog goes down. Needs nothing but the standard library: contenders use it too."""

from __future__ import annotations

import time
from collections.abc import Callable

WARM_SHARE = 0.1
"""Of the backlog: what goes first warms connections and caches, and counts for nobody."""
LOOK_SECONDS = 0.01
DRAIN_SECONDS = 300.0


def drain_rate(left: Callable[[], int], count: int, *, limit: float = DRAIN_SECONDS) -> float:
    """Writes/s of a drain that goes on, from a tenth of the ``count`` done until ``left()`` says 0.

    Raises:
        TimeoutError: it is not drained after ``limit`` seconds.
    """
    warm = int(count * (1 - WARM_SHARE))
    began: tuple[float, int] | None = None
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        now, waiting = time.perf_counter(), left()
        if began is None:
            if waiting <= warm:
                began = now, waiting
        elif waiting == 0:
            return began[1] / (now - began[0])
        time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"{left()} of {count} writes are left after {limit:g} s")
