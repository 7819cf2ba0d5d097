"""Redis is killed, or full: what was accepted is not lost, and the workers go on by themselves."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import Producer, QueueUnavailable
from penstock.queue.client import Queue
from penstock_worker.demo.servers import RedisServer
from tests.support.fault_s3 import FaultS3, refusal
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.writers import Writers, wait_for_more

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""

KILLS = 3
MANY_ATTEMPTS = 100
MEMORY = "24mb"
BODY = 20_000


@pytest.fixture
def redis_server(request: pytest.FixtureRequest, tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    """One for each test, that has every answered write on disk. A test's parameter is its ``maxmemory``."""
    extra = ("--maxmemory", request.param) if hasattr(request, "param") else ()
    with RedisServer(tmp_path, appendfsync="always", executable=redis_executable, extra=extra) as server:
        yield server


def fill(producer: Producer, oracle: Oracle) -> int:
    """Writes until Redis takes no more; returns how many it took."""
    noise = random.Random(1).randbytes(BODY)
    for count in itertools.count():
        try:
            oracle.ledger.put(producer, f"{count}", b"%d " % count + noise)
        except QueueUnavailable:
            return count
    raise AssertionError("never full")


def test_redis_killed_and_restarted_under_load_loses_nothing(
    redis_server: RedisServer, queue_name: str, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
    with Writers(redis_server.url, queue_name, oracle.ledger, producers=3):
        for _ in range(KILLS):
            wait_for_more(store, oracle, 150)
            redis_server.kill()
            redis_server.start()
    summary = oracle.check()
    assert summary.accepted > KILLS * 150


@pytest.mark.parametrize("redis_server", [MEMORY], indirect=True)
def test_a_redis_at_its_memory_limit_drains_and_takes_writes_again(
    redis_server: RedisServer, producer: Producer, queue: Queue, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    assert fill(producer, oracle) > 100
    # Some are put off in the meantime, which takes room of its own in Redis, while it has none.
    with store.broken(refusal(500, "InternalError", rate=0.1)):
        fleet.start_some(2)
        oracle.check(faults={"InternalError": 20})
    oracle.ledger.put(producer, "after", b"the memory is free again")
    oracle.check()
