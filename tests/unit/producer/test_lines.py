"""When a connection does what."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from penstock.async_line import AsyncLine
from penstock.sync_line import Line

URL = "redis://127.0.0.1:1/0"


class Wire:
    """In the place of redis-py's connection: writes down what happens, and answers."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def send_packed_command(self, command: tuple[bytes], **_: Any) -> None:
        self.steps.append(command[0].decode())

    def read_response(self, **_: Any) -> bytes:
        self.steps.append("read")
        return b"answer"


class AsyncWire(Wire):
    async def send_packed_command(self, command: tuple[bytes], **given: Any) -> None:  # type: ignore[override]
        super().send_packed_command(command, **given)

    async def read_response(self, **given: Any) -> bytes:  # type: ignore[override]
        return super().read_response(**given)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_done_meanwhile_is_done_between_sending_and_reading(is_async: bool) -> None:
    wire = AsyncWire() if is_async else Wire()

    def meanwhile() -> None:
        wire.steps.append("meanwhile")

    if is_async:
        line = AsyncLine(URL, 1.0, "queue")
        line._connection = wire
        replies = asyncio.run(line.exchange_and_wait(b"sent", 1, meanwhile, waits=False))
    else:
        other = Line(URL, 1.0, "queue")
        other._connection = wire
        replies = other.exchange_and_wait(b"sent", 1, time.monotonic() + 60.0, meanwhile, waits=False)
    assert wire.steps == ["sent", "meanwhile", "read"]
    assert replies.answer == b"answer"
