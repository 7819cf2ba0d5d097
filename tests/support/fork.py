"""Children by ``os.fork``, as a prefork server makes them."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

from tests.support.producers import HANG


def in_child(work: Callable[[], object]) -> int:
    """Forks; the child does ``work`` and ends without the parent's exit handlers. Returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(int(HANG))  # a child that hangs dies
        work()
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def wait_for(*pids: int) -> None:
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "the child failed"
