"""Each fault of Redis under load, one after the other: callers are told, workers resume, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from penstock.queue.connection import open_client
from penstock.queue.reshard import reshard
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.demo.servers import RedisServer
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.recovery import Trial
from tests.support.redis_faults import BUSY_OPTIONS, FAULTS, LOADS_SLOWLY, Fault, busy, killed
from tests.support.writers import Writers, wait_for_more

pytestmark = pytest.mark.faults

REDIS_SECONDS = 30.0
MANY_ATTEMPTS = 100
FLUSHES = 10
KILLS = 3
EVERYSEC_BOUND = 2.0
"""Seconds of writes that a Redis with ``appendfsync everysec`` may hold back, and so lose when it is killed."""


@pytest.fixture
def redis_server(request: pytest.FixtureRequest, tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    """One for each test. A test's parameter is its ``appendfsync``, by default always."""
    appendfsync, extra = getattr(request, "param", "always"), (*BUSY_OPTIONS, *LOADS_SLOWLY)
    with RedisServer(tmp_path, appendfsync=appendfsync, executable=redis_executable, extra=extra) as server:
        yield server


@pytest.mark.parametrize(("shards", "faults"), [(1, FAULTS), (3, (killed, busy))], ids=["one-shard", "three-shards"])
def test_each_fault_of_redis_under_load_is_told_and_loses_nothing(
    shards: int,
    faults: Sequence[Fault],
    redis_server: RedisServer,
    queue_name: str,
    store: FaultS3,
    fleet: Fleet,
) -> None:
    with closing(Clients(redis_server.url, REDIS_SECONDS, queue_name)) as clients:
        queue = ShardedQueue(clients, queue_name)
        reshard(queue, shards)
        fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
        trial = Trial(redis_server.url, queue_name, store, Oracle(store, queue))
        for fault in faults:
            trial.run(fault.__name__.replace("_", " "), partial(fault, redis_server))
        fleet.stop()


def test_scripts_flushed_again_and_again_under_load_lose_nothing(
    redis_server: RedisServer, queue_name: str, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
    with (
        Writers(redis_server.url, queue_name, oracle.ledger, producers=3) as writers,
        open_client(redis_server.url, REDIS_SECONDS) as client,
    ):
        for _ in range(FLUSHES):
            wait_for_more(store, oracle, 30)
            client.script_flush()
        wait_for_more(store, oracle, 30)
    assert not writers.errors
    oracle.check()


@pytest.mark.parametrize("redis_server", ["everysec"], indirect=True)
def test_redis_killed_under_everysec_loses_the_last_two_seconds_at_the_most(
    redis_server: RedisServer, queue_name: str, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    """The oracle judges all writes but those of these seconds: of these each may be there or not."""
    fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
    spans: list[tuple[float, float]] = []
    with Writers(redis_server.url, queue_name, oracle.ledger, producers=3):
        for _ in range(KILLS):
            wait_for_more(store, oracle, 150)
            killed = time.time()
            redis_server.kill()
            redis_server.start()
            spans.append((killed - EVERYSEC_BOUND, time.time()))
        wait_for_more(store, oracle, 150)
    at_risk = oracle.ledger.forget_between(spans)
    summary = oracle.check()
    print(f"at risk: {at_risk} of {summary.accepted + at_risk}, lost: {oracle.lost_of_forgotten()}")
