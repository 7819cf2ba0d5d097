"""A producer with a spool while Redis is away: real processes, both producers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer, Seen
from tests.support.wait import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.faults]

TIMEOUT = 0.5


@pytest.fixture
def server(tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis", appendfsync="always", executable=redis_executable)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=KINDS, ids=["threads", "asyncio"])
def make(request: pytest.FixtureRequest, server: RedisServer, tmp_path: Path) -> Callable[[], AnyProducer]:
    kind: type[AnyProducer] = request.param
    return lambda: kind(server.url, bucket=BUCKET, timeout=TIMEOUT, spool=str(tmp_path / "spool"))


def test_spool_takes_writes_while_redis_is_away_and_replays_them_in_order(
    make: Callable[[], AnyProducer], server: RedisServer
) -> None:
    with make() as producer:
        first = producer.put("key", b"before")
        server.kill()
        receipts = [producer.put("key", b"version %d" % number) for number in range(5)]
        receipts.append(producer.put("large", b"x" * 100_000))
        assert [(receipt.spooled, receipt.seq) for receipt in receipts] == [(True, 0)] * 6
        server.start()
        seen = Seen(server.url, "default")
        wait_until(lambda: len(seen.records()) == 2, HANG, "the spool was replayed")
        record = seen.records()[f"{BUCKET}/key"]
        assert bytes(record.body or b"") == b"version 4"
        assert record.seq > first.seq
        wait_until(lambda: not producer.put("direct", b"body").spooled, HANG, "writes go to Redis again")
        assert seen.accepted() >= 7
        seen.close()
