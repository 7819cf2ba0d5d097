"""A Redis Cluster of real processes: masters that share the slots, and replicas of them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from penstock.queue.names import key_prefix
from penstock_worker.demo.process import LOOPBACK
from penstock_worker.demo.servers import RedisServer
from tests.support.sentinel_servers import NO_DELAY
from tests.support.wait import wait_until

SLOTS = 16384
NODE_TIMEOUT = 1.0
"""Seconds without an answer until a node takes another for dead."""
LIMIT = 60.0
"""Seconds, against hangs only."""


class Node:
    """One server of a cluster, with a client of its own."""

    def __init__(self, directory: Path, executable: str | None, extra: Sequence[str], appendfsync: str) -> None:
        with socket.socket() as chosen:  # the usual one, 10,000 above the node's port, may not exist
            chosen.bind((LOOPBACK, 0))
            self.bus_port: int = chosen.getsockname()[1]
        options = (
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)),
            *("--cluster-node-timeout", str(int(NODE_TIMEOUT * 1000)), *NO_DELAY),
        )
        self.server = RedisServer(directory, executable=executable, extra=(*options, *extra), appendfsync=appendfsync)
        self.client: Any = None
        self.id = ""

    def start(self) -> None:
        self.server.start()
        if self.client is None:
            self.client = redis.Redis(LOOPBACK, self.server.port, socket_timeout=LIMIT, retry=Retry(NoBackoff(), 0))
            self.id = str(self.cluster("MYID"), "ascii")

    def cluster(self, *args: object) -> Any:
        name, *rest = args
        return self.client.execute_command(f"CLUSTER {name}", *rest)

    def info(self) -> dict[str, str]:
        return cast("dict[str, str]", self.cluster("INFO"))

    def owner_port(self, slot: int) -> int:
        """As this node sees it."""
        parts = self.cluster("SLOTS")
        return next(int(master[1]) for first, last, master, *_ in parts if first <= slot <= last)

    @property
    def port(self) -> int:
        return self.server.port


class ClusterServers:
    """Leaving the context stops all, whatever happened inside. Master number i has the i-th part of the slots."""

    def __init__(
        self,
        directory: Path,
        *,
        executable: str | None = None,
        masters: int = 3,
        replicas: int = 0,
        extra: Sequence[str] = (),
        appendfsync: str = "everysec",
    ) -> None:
        self._stack = ExitStack()
        self.nodes: list[Node] = []
        for number in range(masters + masters * replicas):
            home = directory / f"node-{number}"
            home.mkdir()
            self.nodes.append(Node(home, executable, extra, appendfsync))
        self.masters = self.nodes[:masters]
        self.replicas = self.nodes[masters:]
        """Number i is one of master i's."""

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def __enter__(self) -> Self:
        try:
            for number, node in enumerate(self.nodes):
                self._stack.callback(node.server.kill)  # a replica that writes its first file heeds no SIGTERM
                node.start()
                node.cluster("SET-CONFIG-EPOCH", number + 1)
            share = SLOTS / len(self.masters)
            for number, node in enumerate(self.masters):
                node.cluster("ADDSLOTSRANGE", round(number * share), round((number + 1) * share) - 1)
            for node in self.nodes[1:]:
                node.cluster("MEET", LOOPBACK, self.nodes[0].port, self.nodes[0].bus_port)
            for node in self.nodes:
                wait_until(partial(self._knows_all, node), LIMIT, "the nodes know each other")
            for number, node in enumerate(self.replicas):
                node.cluster("REPLICATE", self.masters[number % len(self.masters)].id)
            self.wait_until_ok()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def wait_until_ok(self) -> None:
        """Returns when every node that runs serves all slots, and each replica has its master's data."""
        for node in self._running():
            wait_until(partial(self._is_ok, node), LIMIT, "the cluster is ok")

    def slot_of(self, queue: str, shard: int = 0) -> int:
        return key_slot(key_prefix(queue, shard).encode())

    def owner(self, slot: int) -> Node:
        """The master of a slot, as the first node that runs sees it."""
        port = self._running()[0].owner_port(slot)
        return next(node for node in self.nodes if node.port == port)

    def wait_for_failover(self, old: Node, slot: int) -> Node:
        """Returns the new master of a slot once all that run name it."""

        def new_one() -> Node | None:
            owner = self.owner(slot)
            return owner if owner is not old else None

        wait_until(new_one, LIMIT, "a replica is promoted")
        self.wait_until_ok()
        return self.owner(slot)

    # -- a slot moves, as redis-cli and valkey-cli do it --------------------------------------------------------------

    def begin_move(self, slot: int, target: Node) -> Node:
        """From now on the slot is open: some of its keys are here and some there. Returns where they come from."""
        source = self.owner(slot)
        target.cluster("SETSLOT", slot, "IMPORTING", source.id)
        source.cluster("SETSLOT", slot, "MIGRATING", target.id)
        return source

    def move_keys(self, slot: int, source: Node, target: Node, count: int = 10) -> int:
        """Moves some of the slot's keys; returns how many."""
        keys = source.cluster("GETKEYSINSLOT", slot, count)
        if keys:
            source.client.execute_command(
                "MIGRATE", LOOPBACK, target.port, "", 0, int(LIMIT * 1000), "REPLACE", "KEYS", *keys
            )
        return len(keys)

    def end_move(self, slot: int, source: Node, target: Node) -> None:
        """Closes the slot. Returns when every node knows its new master."""
        target.cluster("SETSLOT", slot, "NODE", target.id)
        source.cluster("SETSLOT", slot, "NODE", target.id)
        for node in self._running():
            wait_until(partial(self._names, node, slot, target), LIMIT, "all know where the slot is")

    def move_at_once(self, slot: int, target: Node) -> None:
        """Valkey's own way since 9.0: a copy in the background, then all of it in one step. Raises ResponseError."""
        self.owner(slot).cluster("MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        for node in self._running():
            wait_until(partial(self._names, node, slot, target), LIMIT, "all know where the slot is")

    def _names(self, node: Node, slot: int, owner: Node) -> bool:
        return node.owner_port(slot) == owner.port

    def _running(self) -> list[Node]:
        found = []
        for node in self.nodes:
            try:
                node.client.ping()
            except redis.RedisError:
                continue
            found.append(node)
        return found

    def _knows_all(self, node: Node) -> bool:
        return int(node.info()["cluster_known_nodes"]) == len(self.nodes)

    def _is_ok(self, node: Node) -> bool:
        info = node.info()
        replication = node.client.info("replication")
        linked = replication["role"] == "master" or replication["master_link_status"] == "up"
        return info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == SLOTS and linked
