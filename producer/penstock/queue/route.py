"""Where a pool's connections lead: to one server, or to the master that Sentinel or a cluster tells. No I/O here."""

from __future__ import annotations

from typing import Any

import redis
from redis.crc import key_slot

from penstock.queue.address import Address, Node

ASK_SECONDS = 1.0
"""How long one node is asked where the master is, while there are others to ask."""

MAX_NODES = 32
"""Nodes of a large cluster that are remembered to be asked; those of the address always."""


class NoMasterError(redis.RedisError):
    """Nobody serves the queue just now, as far as the one that was asked knows."""


class Route:
    """The way of one pool. Safe to share between threads: whatever changes is replaced as a whole.

    Args:
        key: any key of the shard; on a cluster it says which node. None leads to any of its masters.

    Attributes:
        question: the command that asks a node where the master is; empty when the address names the server itself.
        login: how to log in where one asks, if not as in the servers.
        way: another object after each `look_again`. A connection that remembers an older one may lead astray.
    """

    def __init__(self, address: Address, key: str | None) -> None:
        self.login = dict(address.login)
        self.way = object()
        self._nodes = address.nodes
        self._order = address.nodes
        self._service = address.service
        self._slot = None if key is None else key_slot(key.encode())
        self.question: tuple[str, ...] = ()
        if self._service:
            self.question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        elif self._nodes:
            self.question = ("CLUSTER", "SLOTS")

    @property
    def is_found(self) -> bool:
        """Whether somebody must be asked for it."""
        return bool(self.question)

    def look_again(self) -> None:
        """The server that answered is not, or not any more, the one that takes writes."""
        self.way = object()

    def nodes(self, seconds: float) -> list[tuple[Node, float]]:
        """Whom to ask in turn, each for how long, so that some that are dead leave time for one that lives."""
        order = self._order
        share = seconds if len(order) == 1 else min(ASK_SECONDS, seconds / min(3, len(order)))
        return [(node, share) for node in order]

    def failed(self, node: Node) -> None:
        """It is asked last from now on."""
        self._order = (*(other for other in self._order if other != node), node)

    def read(self, node: Node, answer: Any) -> Node:
        """The master, out of the answer of a node.

        Raises:
            NoMasterError: there is none, as far as it knows.
        """
        return self._read_sentinel(node, answer) if self._service else self._read_slots(node, answer)

    def _read_sentinel(self, node: Node, answer: Any) -> Node:
        if not answer:
            raise NoMasterError(f"the Sentinel at {_shown(node)} knows no service {self._service!r}")
        host, port = answer
        return _text(host), int(port)

    def _read_slots(self, node: Node, answer: Any) -> Node:
        masters: list[Node] = []
        found: Node | None = None
        for first, last, master, *_ in answer:
            host = _text(master[0])
            # A node that knows no name of its own says nothing or "?": it is the one we reached it by.
            masters.append((node[0] if host in ("", "?") else host, int(master[1])))
            if found is None and (self._slot is None or first <= self._slot <= last):
                found = masters[-1]
        if found is None:
            slot = "any slot" if self._slot is None else f"slot {self._slot}"
            raise NoMasterError(f"no node of the cluster serves {slot}, says the one at {_shown(node)}")
        # The seeds may be gone one day, when the others are still there.
        first_ones = [node, *(other for other in self._order if other in self._nodes and other != node)]
        others = [other for other in dict.fromkeys((*masters, *self._order)) if other not in first_ones]
        self._order = tuple(first_ones + others[: max(0, MAX_NODES - len(first_ones))])
        return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _shown(node: Node) -> str:
    return f"{node[0]}:{node[1]}"
