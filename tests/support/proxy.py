"""A TCP proxy before a real server, whose faults a test turns on and off."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from enum import Enum, auto
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
CHUNK = 64 * 1024
END_SECONDS = 10.0
"""For the threads to end once their sockets are shut; a hang check."""


class Mode(Enum):
    PASS = auto()
    DROP_REPLIES = auto()
    """Requests arrive, and the server answers, but the answers do not come."""
    LOSE_REPLY = auto()
    """The first answer that comes is swallowed and its connection reset; from then on PASS."""
    STALL = auto()
    """Connections are taken, and nothing moves in either direction."""
    RESET = auto()
    """Connections are taken and reset at the first byte."""
    REFUSE = auto()
    """No connection is taken, and those that stand are reset."""


class Proxy:
    """Listens on a loopback port of its own, and keeps it while it refuses. A context manager.

    Setting `mode` works on the connections that stand, from their next byte on. `connections` counts those taken,
    `seen` holds the requests' bytes, passed on or not.
    """

    def __init__(self, port: int) -> None:
        self._target = (LOOPBACK, port)
        self._mode = Mode.PASS
        self._lock = threading.Lock()
        self._links: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._closing = False
        self.port = 0
        self.connections = 0
        self.seen = bytearray()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.REFUSE:
            self._stop_listening()
            self.reset_all()
        elif self._listener is None:
            self._listen()

    def retarget(self, port: int) -> None:
        """For connections that come from now on: as an address that moves to another server."""
        self._target = (LOOPBACK, port)

    def reset_all(self) -> None:
        """As a firewall or a crash does: both ends of every connection."""
        with self._lock:
            links, self._links = self._links, []
        for client, server in links:
            _reset(client)
            _reset(server)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing = True
        self._stop_listening()
        self.reset_all()
        for thread in self._threads:
            thread.join(END_SECONDS)
            assert not thread.is_alive(), "a thread of the proxy hangs"

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, self.port))
        listener.listen()
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        self._run(self._accept, listener)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            listener.close()

    def _run(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed
            self.connections += 1
            try:
                server = socket.create_connection(self._target)
            except OSError:
                _reset(client)
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._links.append((client, server))
            self._run(self._requests, client, server)
            self._run(self._replies, server, client)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with _ends(client, server):
            while data := client.recv(CHUNK):
                self.seen += data
                if self._mode is Mode.RESET:
                    return
                if self._mode is not Mode.STALL:
                    server.sendall(data)

    def _replies(self, server: socket.socket, client: socket.socket) -> None:
        with _ends(server, client):
            while data := server.recv(CHUNK):
                if self._mode is Mode.LOSE_REPLY:
                    self._mode = Mode.PASS
                    return
                if self._mode is Mode.PASS:
                    client.sendall(data)


@contextlib.contextmanager
def _ends(*ends: socket.socket) -> Iterator[None]:
    """However one direction ends, both ends are reset."""
    try:
        with contextlib.suppress(OSError):
            yield
    finally:
        for end in ends:
            _reset(end)


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)  # wakes the other thread, which may be reading
    end.close()
