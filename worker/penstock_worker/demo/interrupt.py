"""Ctrl-C and SIGTERM as something that the demo's waits look at, so that no code is cut in two by them."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP too: the servers lead sessions of their own, and would outlive the terminal that was closed."""
LOOK_SECONDS = 0.2
"""How often the main thread looks while others work: also the display's pace."""


class Stopped(Exception):
    """A signal asked the demo to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class AbandonedError(Exception):
    """The main thread has given up; the others need not go on."""


class Interrupts:
    """Takes signals. A signal only leaves a note: `check` and `wait` raise `Stopped`.

    An exception out of the handler itself could come between a process's start and the line that remembers it, or
    in the middle of cleaning up; then a process would be left. Only the main thread listens and waits; `check` is
    for all threads.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._abandoned = threading.Event()
        # Its put may be called in a signal handler while the same thread is in get. An Event's set may not.
        self._arrived: queue.SimpleQueue[int] = queue.SimpleQueue()

    def check(self) -> None:
        if self._signal is not None:
            raise Stopped(self._signal)
        if self._abandoned.is_set():
            raise AbandonedError

    def wait(self, seconds: float) -> None:
        try:
            self._arrived.get(timeout=seconds)
        except queue.Empty:
            return
        self.check()

    def meanwhile(self, work: Callable[[], T], look: Callable[[], object]) -> T:
        """Runs ``work`` on a thread, calling ``look`` every `LOOK_SECONDS`, and returns what it returns.

        When ``look`` raises or a signal comes, ``work`` is told through `check` and waited for.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="demo") as pool:
            future = pool.submit(work)
            try:
                while not future.done():
                    look()
                    self.wait(LOOK_SECONDS)
            except BaseException:
                self._abandoned.set()
                raise
            return future.result()

    def listen(self) -> None:
        """Takes the signals until the process ends: one that comes after the demo must not change its exit status."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal = number
            self._arrived.put(number)
