"""A server that answers as a test says, for what a real Redis does at moments that no test can hold it at."""

from __future__ import annotations

import socketserver
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

LOOPBACK = "127.0.0.1"
ACCEPTED = b"$10\r\nA" + (7).to_bytes(8) + b"\x00\r\n"
"""The script's answer to one write of one caller."""

HANDSHAKE = (b"AUTH", b"CLIENT", b"SELECT")

Answer = Callable[[int, list[bytes]], bytes]
"""Of a connection (the first is 1) and the words of a command. Empty: it says nothing."""


class FakeRedis:
    """What came in: `connections`, and the commands of each with its number."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.seen: list[tuple[int, list[bytes]]] = []

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def count(self, command: bytes) -> int:
        return sum(words[0] == command for _, words in self.seen)


@contextmanager
def fake_redis(answer: Answer, delay: float = 0.0) -> Iterator[FakeRedis]:
    """`answer` is asked for all but the handshake. Each reply comes so many seconds late."""
    fake = FakeRedis()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            fake.connections += 1
            number = fake.connections
            with suppress(OSError):  # a client that hangs up
                while head := self.rfile.readline():
                    words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))]
                    time.sleep(delay)
                    if words[0] in HANDSHAKE:
                        self.wfile.write(b"+OK\r\n")
                        continue
                    fake.seen.append((number, words))
                    self.wfile.write(answer(number, words))

    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        fake.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
