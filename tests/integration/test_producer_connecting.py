"""Connecting takes many steps, and all of them together no longer than the call has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from penstock import QueueUnavailable
from penstock.async_line import AsyncLine
from penstock.sync_line import Line
from tests.support.fake_redis import ACCEPTED, fake_redis
from tests.support.producers import BUCKET, KINDS, AnyProducer

LIMIT = 0.6
"""A call's time limit, in seconds. One step may take half of it."""
LATE = 0.2
"""A step's delay: three of them leave nothing."""
LITTLE = 0.02
"""Too little for a call."""

Kind = Callable[..., AnyProducer]


def accept(_: int, words: list[bytes]) -> bytes:
    assert words[0] == b"EVALSHA"
    return ACCEPTED


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_whose_every_step_of_connecting_is_late_is_sent_no_call_after_the_time_limit(kind: Kind) -> None:
    with fake_redis(accept, delay=LATE) as fake:
        with (
            kind(f"redis://:word@127.0.0.1:{fake.port}/1", timeout=LIMIT) as producer,
            pytest.raises(QueueUnavailable) as caught,
        ):
            producer.put("key", b"body", bucket=BUCKET)
        assert not caught.value.maybe_accepted
        assert fake.connections >= 1
    assert fake.seen == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentinel_whose_every_step_is_late_leads_nowhere_after_its_share_of_the_time(kind: Kind) -> None:
    with fake_redis(accept) as master:
        told = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(master.port)), master.port)
        with (
            fake_redis(lambda *_: told, delay=LATE) as sentinel,
            kind(f"redis+sentinel://127.0.0.1:{sentinel.port}/name", timeout=LIMIT) as producer,
            pytest.raises(QueueUnavailable) as caught,
        ):
            producer.put("key", b"body", bucket=BUCKET)
        assert not caught.value.maybe_accepted
        assert sentinel.connections >= 1
    assert master.connections == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_would_begin_at_its_time_limits_very_end_is_not_sent(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, async_connect = Line.connect, AsyncLine.connect

    def connect_late(line: Line, deadline: float) -> None:
        connect(line, deadline)
        time.sleep(LIMIT - LITTLE)  # the stand-in for steps that take as long together

    async def async_connect_late(line: AsyncLine) -> None:
        await async_connect(line)
        await asyncio.sleep(LIMIT - LITTLE)

    monkeypatch.setattr(Line, "connect", connect_late)
    monkeypatch.setattr(AsyncLine, "connect", async_connect_late)
    with fake_redis(accept) as fake:
        with (
            kind(fake.url, timeout=LIMIT) as producer,
            pytest.raises(QueueUnavailable) as caught,
        ):
            producer.put("key", b"body", bucket=BUCKET)
        assert not caught.value.maybe_accepted
        assert fake.connections == 1
    assert fake.seen == []
