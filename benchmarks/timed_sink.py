"""A sink that tells when it answered the requests for certain keys, by the monotonic clock that all processes share.

    python -m benchmarks.timed_sink PORT SECONDS MARK

It answers after SECONDS, and prints a line for each request whose path contains MARK.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import clean_environment
from benchmarks.stub_sink import ANSWER, LOOPBACK, Stub
from penstock_worker.demo.process import ServerProcess


class TimedStub(Stub):
    """One connection, whose requests come one after the other."""

    def __init__(self, latency: float, mark: bytes) -> None:
        super().__init__(latency)
        self._mark = mark
        self._path = b""

    def _start(self, head: bytes) -> None:
        self._path = head.split(b" ", 2)[1]
        super()._start(head)

    def _send(self, data: bytes) -> None:
        super()._send(data)
        if data is ANSWER and self._mark in self._path:
            print(time.monotonic(), self._path.decode(), flush=True)


class TimedSink:
    """One that runs."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.port}"

    def answered(self) -> dict[str, float]:
        """When it answered each path, by time.monotonic()."""
        lines = [line.split() for line in self._server.log().splitlines(keepends=True) if line.endswith("\n")]
        return {path: float(at) for at, path in lines}


def _listens(port: int, _pid: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def open_timed_sink(mark: str, latency: float) -> Iterator[TimedSink]:
    """A sink that keeps nothing. Raises ServerError when it does not start."""
    with tempfile.TemporaryDirectory(prefix="penstock-sink-") as directory:

        def command(port: int) -> list[str]:
            return [sys.executable, "-P", "-m", "benchmarks.timed_sink", str(port), str(latency), mark]

        server = ServerProcess("sink", Path(directory), command, _listens, environ=lambda _: clean_environment({}))
        try:
            server.start()
            yield TimedSink(server)
        finally:
            server.stop()


async def serve(port: int, latency: float, mark: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TimedStub(latency, mark), LOOPBACK, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].encode()))
