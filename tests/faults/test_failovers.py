"""A master dies under load, and a replica takes its place: by Sentinel, and in a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from penstock.queue.client import Queue
from tests.support.cluster_servers import ClusterServers
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.recovery import longest_gap
from tests.support.sentinel_servers import SentinelServers
from tests.support.wait import wait_until
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
MANY_ATTEMPTS = 100
FAILOVERS = 2
MORE = 150
"""Writes accepted before each, and after."""


class Servers:
    """Sentinel's or a cluster's servers: what a failover needs of both."""

    def __init__(self, kind: str, directory: Path, executable: str | None, queue: str, stack: ExitStack) -> None:
        self._queue = queue
        self._cluster: ClusterServers | None = None
        self._sentinel: SentinelServers | None = None
        if kind == "cluster":
            self._cluster = stack.enter_context(ClusterServers(directory, executable=executable, replicas=1))
            self.url = self._cluster.url
        else:
            self._sentinel = stack.enter_context(SentinelServers(directory, executable=executable))
            self.url = self._sentinel.url

    def fail_over(self) -> None:
        """SIGKILL for the master; returns when another has its place, and the old one is its replica."""
        if self._cluster is not None:
            slot = self._cluster.slot_of(self._queue)
            old = self._cluster.owner(slot)
            old.server.kill()
            self._cluster.wait_for_failover(old, slot)
            old.server.start()
            self._cluster.wait_until_ok()
            return
        assert self._sentinel is not None
        master = self._sentinel.master()
        port = master.port
        master.kill()
        self._sentinel.wait_for_failover(port)
        master.start()
        self._sentinel.wait_for_replicas()


@pytest.fixture(params=["sentinel", "cluster"])
def servers(
    request: pytest.FixtureRequest, tmp_path: Path, redis_executable: str | None, queue_name: str
) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(request.param, tmp_path, redis_executable, queue_name, stack)


@pytest.fixture
def redis_url(servers: Servers) -> str:
    return servers.url


def answers(queue: Queue) -> bool:
    """A client whose server is gone has one call that fails, and connects anew with the next."""
    try:
        return queue.stats().items >= 0
    except redis.RedisError:
        return False


def wait_for_more(oracle: Oracle, writes: int) -> None:
    wanted = oracle.ledger.count + writes
    wait_until(lambda: oracle.ledger.count >= wanted, LIMIT, "the load goes on")


def report(killed: float, store: FaultS3, oracle: Oracle) -> None:
    """A line for the table in docs/reliability.md."""
    accepted = [one.at for entry in oracle.ledger.entries().values() for one in entry.accepted]
    stored = [one.at for versions in list(store.history.values()) for one in versions]
    gaps = [longest_gap(list(times), killed) for times in (accepted, stored)]
    print(f"FAULT failover: nothing accepted for {gaps[0]:.1f} s, nothing stored for {gaps[1]:.1f} s")


def test_with_each_write_on_a_replica_failovers_under_load_lose_nothing(
    servers: Servers, queue_name: str, queue: Queue, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
    with Writers(servers.url, queue_name, oracle.ledger, producers=3, durability="replicas:1"):
        for _ in range(FAILOVERS):
            wait_for_more(oracle, MORE)
            killed = time.time()
            servers.fail_over()
            wait_for_more(oracle, MORE)
            report(killed, store, oracle)
    wait_until(lambda: answers(queue), LIMIT, "the oracle's own connection was renewed")
    summary = oracle.check()
    assert summary.accepted >= (FAILOVERS + 1) * MORE
    assert summary.lost == 0
