"""The queue moves to another Redis by replication, the way the runbook says, while producers go on writing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.demo.servers import RedisServer
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.proxy import LOOPBACK, Proxy
from tests.support.wait import wait_until
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
SOCKET_SECONDS = 30.0
AT_ONCE = ("--repl-diskless-sync-delay", "0")
"""Redis waits five seconds for more replicas otherwise."""


@pytest.fixture
def servers(tmp_path: Path, redis_executable: str | None) -> Iterator[tuple[RedisServer, RedisServer]]:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with (
        RedisServer(tmp_path / "old", executable=redis_executable, extra=AT_ONCE) as old,
        RedisServer(tmp_path / "new", executable=redis_executable, extra=AT_ONCE) as new,
    ):
        yield old, new


@pytest.fixture
def address(servers: tuple[RedisServer, RedisServer]) -> Iterator[Proxy]:
    """What everybody knows Redis by: it leads to the old one at first."""
    with Proxy(servers[0].port) as proxy:
        yield proxy


@pytest.fixture
def redis_url(address: Proxy) -> str:
    return address.url


def replication(url: str) -> dict[str, Any]:
    with open_client(url, SOCKET_SECONDS, "any") as client:
        return dict(client.info("replication"))


def run(url: str, *command: object) -> None:
    with open_client(url, SOCKET_SECONDS, "any") as client:
        client.execute_command(*command)


def wait_for_more(store: FaultS3, oracle: Oracle, writes: int) -> None:
    """Returns when so many more were accepted, and so many have landed."""
    landed, accepted = store.landed + writes, oracle.ledger.count + writes
    wait_until(lambda: store.landed >= landed and oracle.ledger.count >= accepted, LIMIT, "the load goes on")


def test_a_queue_that_moves_to_another_redis_by_replication_loses_nothing(
    servers: tuple[RedisServer, RedisServer],
    address: Proxy,
    queue: Queue,
    queue_name: str,
    store: FaultS3,
    oracle: Oracle,
    fleet: Fleet,
) -> None:
    old, new = servers
    workers = fleet.start_some(2)
    with Writers(address.url, queue_name, oracle.ledger):
        wait_for_more(store, oracle, 100)
        run(new.url, "REPLICAOF", LOOPBACK, old.port)
        wait_until(
            lambda: replication(old.url).get("slave0", {}).get("state") == "online", LIMIT, "the replica is online"
        )
        for worker in workers:
            worker.terminate()
        for worker in workers:
            assert worker.wait() == 0
            fleet.remove(worker)
        assert queue.stats().inflight == 0
        run(old.url, "FAILOVER", "TO", LOOPBACK, new.port, "TIMEOUT", 10_000)
        wait_until(lambda: replication(new.url)["role"] == "master", LIMIT, "the new one is the primary")
        wait_until(lambda: replication(old.url)["role"] == "slave", LIMIT, "the old one takes no writes")
        address.retarget(new.port)
        address.reset_all()
        fleet.start_some(2)
        wait_for_more(store, oracle, 100)
    old.stop()
    summary = oracle.check()
    assert summary.overtaken == 0
