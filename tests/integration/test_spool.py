"""A producer with a spool while Redis is away: real processes, both producers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock import Producer, Write
from penstock.queue.reshard import reshard
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer, Seen
from tests.support.wait import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.faults]

TIMEOUT = 0.5
SHARDS = 3


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


def test_a_replay_finds_the_shards_of_a_queue_that_has_several(
    make: Callable[[], AnyProducer], server: RedisServer
) -> None:
    with closing(Clients(server.url, HANG, "default")) as clients:
        reshard(ShardedQueue(clients, "default"), SHARDS)
    server.kill()
    with make() as producer:
        keys = [f"key/{number}" for number in range(20)]
        for version in range(2):
            receipts = producer.put_many([Write(key=key, body=b"%d" % version) for key in keys])
            assert all(receipt.spooled for receipt in receipts)
        server.start()
        clients = Clients(server.url, HANG, "default")
        queue = ShardedQueue(clients, "default")
        queue.refresh()
        assert len(queue.shards) == SHARDS
        wait_until(lambda: queue.stats().items == len(keys), HANG, "all are in Redis")
        wait_until(lambda: not producer.put(keys[0], b"2").spooled, HANG, "writes go to Redis again")
        assert all(shard.stats().items for shard in queue.shards)
        clients.close()


def test_a_write_from_elsewhere_that_is_newer_stays(make: Callable[[], AnyProducer], server: RedisServer) -> None:
    with make() as producer, Producer(server.url, bucket=BUCKET) as elsewhere:
        server.kill()
        assert producer.put("key", b"older").spooled
        server.start()
        elsewhere.put("key", b"newer")
        wait_until(lambda: not producer.put("other", b"body").spooled, HANG, "writes go to Redis again")
        seen = Seen(server.url, "default")
        assert bytes(seen.records()[f"{BUCKET}/key"].body or b"") == b"newer"
        seen.close()
