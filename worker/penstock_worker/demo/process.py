"""A server as a child process: start it, wait until it answers, stop, crash or freeze it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

LOOPBACK = "127.0.0.1"
START_SECONDS = 30.0
"""For a start: moto imports for 1-2 s on an idle machine, and Redis may have a long AOF to load."""
STOP_SECONDS = 10.0
"""After SIGTERM; then SIGKILL. Redis flushes its AOF on the way out."""
REAP_SECONDS = 10.0
"""After SIGKILL: the kernel's time to take a process away."""
POLL_SECONDS = 0.02
PORT_ATTEMPTS = 5
"""How many ports to try when others take them before the server does."""
LOG_TAIL_LINES = 20


class ServerError(RuntimeError):
    """A server could not be found or started, or does not run. The message says why, and what to do."""


class _PortTakenError(ServerError):
    """Another process took the port between our asking for it and the server's binding to it."""


def tail(log: str) -> str:
    return "\n".join(log.splitlines()[-LOG_TAIL_LINES:]) or "(empty)"


def go_on() -> None:
    """What a start asks while it waits, when nobody wants to end it."""


class ServerProcess:
    """One server process on one loopback port, which it keeps from one start to the next.

    ``command`` makes the command line for a port; ``answers`` is asked with port and process id until it says
    that the server is up. The log goes to ``{name}.log`` in ``directory``, or is thrown away without one.
    ``environ`` makes the environment for a port, by default the inherited one. ``check`` is called while a start
    waits; what it raises ends the start, and nothing is left of the process.

    The process leads a session of its own, so that Ctrl-C in a terminal reaches only the parent, which then
    stops its servers in the order it wants.
    """

    def __init__(
        self,
        name: str,
        directory: Path | None,
        command: Callable[[int], Sequence[str]],
        answers: Callable[[int, int], bool],
        *,
        environ: Callable[[int], Mapping[str, str]] | None = None,
        check: Callable[[], None] = go_on,
    ) -> None:
        self._name = name
        self._directory = directory
        self._command = command
        self._answers = answers
        self._environ = environ
        self._check = check
        self._port: int | None = None
        self._reservation: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        if self._port is None:
            raise ServerError(f"{self._name} has no port before its first start")
        return self._port

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            raise ServerError(f"{self._name} runs already")
        # A port that callers know is kept; a first one may be exchanged while nobody has seen it.
        attempts = PORT_ATTEMPTS if self._port is None else 1
        for attempt in range(1, attempts + 1):
            try:
                self._start_once()
                return
            except _PortTakenError:
                if attempt == attempts:
                    raise
                self._port = None

    def _start_once(self) -> None:
        try:
            self._reserve_port()
            with self._open_log() as log:
                log_start = log.seek(0, os.SEEK_END)
                self._process = subprocess.Popen(
                    self._command(self.port),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=None if self._environ is None else self._environ(self.port),
                    start_new_session=True,
                )
                problem = self._wait_until_it_answers(self._process)
                if problem is not None:
                    log.seek(log_start)
                    raise self._failure(problem, log.read().decode(errors="replace"))
        except OSError as error:
            self.stop()
            raise ServerError(f"{self._name} cannot be started: {error}") from error
        except BaseException:
            self.stop()
            raise

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> str | None:
        """What went wrong, or None."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._check()
            status = process.poll()
            if status is not None:
                return f"exited with status {status}"
            if self._answers(self.port, process.pid):
                return None
            time.sleep(POLL_SECONDS)
        return f"did not answer within {START_SECONDS:g} s"

    def require_alive(self) -> None:
        """Raises ServerError when it has ended by itself since its start."""
        if self._process is not None and self._process.poll() is not None:
            raise self._failure(f"ended by itself with status {self._process.returncode}", self.log())

    def log(self) -> str:
        """Of all its starts; empty without a directory."""
        with self._open_log() as log:
            log.seek(0)
            return log.read().decode(errors="replace")

    def _failure(self, problem: str, log: str) -> ServerError:
        kind = _PortTakenError if "address already in use" in log.lower() else ServerError
        return kind(f"{self._name} on port {self.port} {problem}; its log ends:\n{tail(log)}")

    def _open_log(self) -> IO[bytes]:
        if self._directory is None:
            return tempfile.TemporaryFile()
        self._directory.mkdir(parents=True, exist_ok=True)
        return (self._directory / f"{self._name}.log").open("a+b")

    def _reserve_port(self) -> None:
        """Ask the system for a port, or for the one from before, and keep it from everybody else.

        On Linux a socket that is bound but does not listen can stay: a server that sets SO_REUSEADDR, as both
        do, binds beside it. Without it, while the server is down, a client that tries to reconnect can be
        given this very port as its own, connect to itself, and keep the server from coming back. Elsewhere
        the port is only found, and may be lost to others.
        """
        if self._reservation is not None:
            return
        reservation = socket.socket()
        try:
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reservation.bind((LOOPBACK, self._port or 0))
            self._port = int(reservation.getsockname()[1])
        except BaseException:
            reservation.close()
            raise
        if sys.platform == "linux":
            self._reservation = reservation
        else:
            reservation.close()

    def restart(self) -> None:
        self._terminate()
        self.start()

    def stop(self) -> None:
        try:
            self._terminate()
        finally:
            if self._reservation is not None:
                self._reservation.close()
                self._reservation = None

    def _terminate(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # a frozen process takes no SIGTERM
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(REAP_SECONDS)
        self._process = None

    def freeze(self) -> None:
        process = self._running()
        process.send_signal(signal.SIGCONT)  # one that stands already would not report another stop
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # the signal is still on its way when send_signal returns

    def thaw(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self._name} does not run")
        return self._process
