"""An HTTP server that records what an S3 client sends and answers what a test tells it to.

moto answers like S3 on a good day; this stub has the bad ones: errors with any status and code, resets,
stalls, answers cut short, and answers that are no S3 at all. It also is an HTTP proxy of a kind: a client
told to go through it sends the whole URL, and the stub answers itself, so virtual-hosted names need no DNS.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape

STALL_LIMIT = 30.0  # seconds until a stalled answer gives up by itself, so that a failing test ends too
POLL = 0.01  # seconds between two looks of the accept loop at its stop flag


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it was on the wire: ``target`` undecoded, header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True, slots=True)
class Answer:
    """``raw`` goes out as it is; the flags say what happens around it."""

    raw: bytes = b""
    close: bool = False
    reset: bool = False  # RST instead of FIN, once `raw` is out
    stall: bool = False  # nothing until `StubS3.release`
    body_delay: float = 0.0  # seconds before the request's body is read: a slow network
    meanwhile: Callable[[], None] = field(default=lambda: None)  # runs before the answer goes out


def reply(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A well-formed answer. Header names: underscores stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Answer(raw="\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def stored() -> Answer:
    return reply(200, ETag='"0123456789abcdef0123456789abcdef"')


def deleted(*keys: str) -> Answer:
    """What S3 says of a DeleteObjects that succeeded, and was not to be quiet."""
    named = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
    return reply(200, f"<DeleteResult>{named}</DeleteResult>".encode(), Content_Type="application/xml")


def error(status: int, code: str, message: str = "said by the stub", **headers: str) -> Answer:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )
    return reply(status, body.encode(), Content_Type="application/xml", **headers)


def reset() -> Answer:
    return Answer(reset=True)


def stall() -> Answer:
    return Answer(stall=True)


def raw(data: bytes) -> Answer:
    """Those bytes, then the end of the connection: answers cut short, or not HTTP at all."""
    return Answer(raw=data, close=True)


def closed_port() -> int:
    """A port of the loopback that refuses connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StubS3:
    """Serves until `close`. Answers are taken from ``script`` in order, and then always ``default``.

    Safe to use from the test's thread while clients are connected. ``tls`` makes it speak HTTPS.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Recorded] = []
        self.connections = 0
        self.default = stored()
        self._script: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(self, tls)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": POLL}, name="stub-s3", daemon=True
        )
        self._thread.start()
        scheme = "http" if tls is None else "https"
        self.endpoint_url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def script(self, *answers: Answer) -> None:
        with self._lock:
            self._script.extend(answers)

    def release(self) -> None:
        """Let every stalled answer end its connection."""
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STALL_LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_answer(self) -> Answer:
        with self._lock:
            return self._script.popleft() if self._script else self.default

    def _record(self, request: Recorded) -> None:
        with self._lock:
            self.requests.append(request)

    def _connected(self) -> int:
        with self._lock:
            self.connections += 1
            return self.connections


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, stub: StubS3, tls: ssl.SSLContext | None) -> None:
        self.stub = stub
        self.tls = tls
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        stub = self.server.stub
        number = stub._connected()
        try:
            if self.server.tls is not None:
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            reader = self.request.makefile("rb")
            while self._serve_one(stub, reader.readline, reader.read, number):
                pass
        except (ConnectionError, ssl.SSLError):
            return  # the client went away, which is what some tests are about

    def _serve_one(
        self, stub: StubS3, readline: Callable[[], bytes], read: Callable[[int], bytes], number: int
    ) -> bool:
        start = readline().decode("ascii").split()
        if not start:
            return False
        headers: dict[str, str] = {}
        while line := readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        answer = stub._next_answer()
        if headers.get("expect") == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if answer.body_delay:
            stub._released.wait(answer.body_delay)
        body = read(int(headers.get("content-length", "0")))
        stub._record(Recorded(start[0], start[1], headers, body, number))
        answer.meanwhile()
        if answer.stall:
            stub._released.wait(STALL_LIMIT)
            return False
        if answer.raw:
            self.request.sendall(answer.raw)
        if answer.reset:
            # A linger time of zero makes close() send RST.
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()
            return False
        return not answer.close
