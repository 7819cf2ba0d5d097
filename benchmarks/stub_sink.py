"""A sink for where there is no nginx: reads a request's body, forgets it, and answers 200, later if it is told to.

python stub_sink.py PORT [SECONDS]
"""

from __future__ import annotations

import asyncio
import sys

LOOPBACK = "127.0.0.1"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "00000000000000000000000000000000"\r\n\r\n'
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Stub(asyncio.Protocol):
    """One connection. Requests must have a Content-Length, or no body."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._head = bytearray()
        self._body_left = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a stream's protocol is given
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        while data:
            if self._body_left:
                taken = min(self._body_left, len(data))
                data = data[taken:]
                self._body_left -= taken
                if self._body_left == 0:
                    self._answer()
                continue
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = bytes(self._head[:end]).lower(), bytes(self._head[end + 4 :])
            self._head.clear()
            self._start(head)

    def _start(self, head: bytes) -> None:
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
            elif name == b"expect":
                self._send(_CONTINUE)
        self._body_left = length
        if length == 0:
            self._answer()

    def _answer(self) -> None:
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._send, ANSWER)
        else:
            self._send(ANSWER)

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


async def serve(port: int, latency: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Stub(latency), LOOPBACK, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
