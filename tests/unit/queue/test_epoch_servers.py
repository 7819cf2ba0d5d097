"""What changes a server's identity, on every server there is: a restart, a promotion, and one that is taken back."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.results import ClaimReply
from penstock_worker.demo.servers import RedisServer, all_redis_servers
from tests.support.queue import BUCKET, LEASE, PLENTY
from tests.support.wait import wait_until

LIMIT = 30.0
"""Seconds, against hangs only."""
NAME = "default"


@dataclass
class Node:
    """A server, and the queue on it."""

    server: RedisServer
    queue: Queue
    tokens: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def info(self, section: str) -> dict[str, Any]:
        return self.queue.client.info(section)

    @property
    def epoch_of(self) -> bytes | None:
        return cast("bytes | None", self.queue.client.hget(self.queue.prefix + "meta", "epoch_of"))

    def put(self) -> int:
        with Producer(self.server.url, bucket=BUCKET, queue=NAME) as producer:
            return producer.put("key", b"body").seq

    def claim(self) -> ClaimReply:
        return self.queue.claim(
            [f"{self.server.port}-{next(self.tokens)}"], lease=LEASE, max_items=25, max_bytes=PLENTY, max_wait=0,
            budget=PLENTY, holds_none=True,
        )  # fmt: skip

    def follow(self, master: Node) -> None:
        """Becomes a replica that has all of the master's data."""
        self.queue.client.replicaof("127.0.0.1", master.server.port)

        def synced() -> bool:
            here, there = self.info("replication"), master.info("replication")
            return bool(here["master_link_status"] == "up" and here["slave_repl_offset"] >= there["master_repl_offset"])

        wait_until(synced, LIMIT, "the replica has it all")

    def promote(self) -> None:
        self.queue.client.replicaof("NO", "ONE")


def _node(server: RedisServer) -> Node:
    return Node(server, Queue(open_client(server.url, LIMIT), NAME))


@pytest.fixture(params=all_redis_servers(), ids=os.path.basename)
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    extra = ("--repl-diskless-sync-delay", "0")
    with (
        RedisServer(tmp_path / "a", executable=request.param, extra=extra) as first,
        RedisServer(tmp_path / "b", executable=request.param, extra=extra) as second,
    ):
        a, b = _node(first), _node(second)
        yield a, b
        a.queue.client.close()
        b.queue.client.close()


def test_epoch_failover_failback_and_restart_begin_one_each_and_nothing_else_does(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    first = a.put()
    assert a.claim().epoch == 0
    run_id = a.info("server")["run_id"]
    b.follow(a)
    with_replica = a.claim().epoch
    assert with_replica > first, "a server's first replica gives it a new replication id: no loss, but nobody can tell"
    assert a.claim().epoch == with_replica
    wait_until(lambda: b.epoch_of == a.epoch_of, LIMIT, "the replica knows of it")
    b.promote()
    after_failover = b.claim().epoch
    assert after_failover > with_replica
    a.follow(b)
    a.promote()
    after_failback = a.claim().epoch
    assert a.info("server")["run_id"] == run_id, "so the replication id must tell"
    assert after_failback > after_failover
    a.queue.client.bgrewriteaof()
    a.queue.client.script_flush()
    assert a.claim().epoch == after_failback
    a.server.restart()
    assert a.claim().epoch > after_failback


@pytest.mark.parametrize("how", ["claim", "put"])
def test_epoch_whoever_comes_first_begins_it(how: str, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    before = a.put()
    b.follow(a)
    b.promote()
    if how == "put":
        number = b.put()
        assert number - before > 10_000_000, "it stands above all that was lost"
        assert b.claim().epoch == number - 1
    else:
        assert b.claim().epoch > before
