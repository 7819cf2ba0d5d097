"""SIGTERM and SIGINT as something to wait for."""

from __future__ import annotations

import signal
from queue import Empty, SimpleQueue
from types import FrameType


class StopSignals:
    """Both signals ask for a stop; a process may be asked twice. For the main thread."""

    def __init__(self) -> None:
        # Put by the signal handler, which runs between any two steps of the main thread: an Event's lock may be held
        # then, a SimpleQueue's put is reentrant.
        self._signals: SimpleQueue[int] = SimpleQueue()

    def listen(self) -> None:
        """From here on the signals end nothing by themselves."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def asked(self, within: float | None) -> bool:
        """Waits for a signal, at most ``within`` seconds, and takes it."""
        try:
            self._signals.get(timeout=within)
        except Empty:
            return False
        return True

    def ask(self) -> None:
        """As a signal would, from any thread."""
        self._signals.put(signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.put(number)
