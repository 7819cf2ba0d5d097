"""SIGTERM and SIGINT as something to wait for."""

from __future__ import annotations

import select
import signal
import socket
import time
from types import FrameType

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Both signals ask for a stop; a process may be asked twice. For the main thread."""

    def __init__(self) -> None:
        # Written to at once when a signal comes, whatever the main thread does. Python's own handler runs only between
        # two steps of that thread: a signal in the moment before a wait on a lock begins would not be seen until it
        # ends, and a busy process makes that moment long (a thread that gives the interpreter away waits until another
        # has it).
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)

    def listen(self) -> None:
        """From here on the signals end nothing by themselves."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _NUMBERS:
            signal.signal(number, _ignore)

    def asked(self, within: float | None) -> bool:
        """Waits for a signal, at most ``within`` seconds, and takes it."""
        until = None if within is None else time.monotonic() + within
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        while poll.poll(None if until is None else max(0.0, (until - time.monotonic()) * 1000)):
            if self._reader.recv(1)[0] in _NUMBERS:
                return True
        return False

    def ask(self) -> None:
        """As a signal would, from any thread."""
        self._writer.send(bytes([signal.SIGTERM]))


def _ignore(number: int, frame: FrameType | None) -> None:
    """The number is in the socket already."""
