"""A Sentinel that was cut off from the others, and goes on telling of a master that is none."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

LOOPBACK = "127.0.0.1"


@contextmanager
def stale_sentinel(master_port: int) -> Iterator[int]:
    """Its port. It answers for every service."""
    port = str(master_port)
    told = f"*2\r\n${len(LOOPBACK)}\r\n{LOOPBACK}\r\n${len(port)}\r\n{port}\r\n".encode()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                words = [self.rfile.readline() and self.rfile.readline().strip() for _ in range(int(head[1:]))]
                self.wfile.write(told if words[0].upper() == b"SENTINEL" else b"+OK\r\n")

    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
