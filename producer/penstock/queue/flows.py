"""Flows with something ready: those that have waited longest, found without a walk through the backlog."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.queue.client import Queue
from penstock.queue.names import PRIORITIES

LIMIT = 20
"""Flows of each priority that one look brings: a fraction of a millisecond of Redis's time."""

_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Flow:
    """What is ready of one bucket's tenant in one priority. ``oldest_age`` in seconds; ``set_aside``: claims leave it
    alone, because a block holds it up."""

    priority: str
    bucket: str
    tenant: str
    ready: int
    oldest_age: float
    set_aside: bool


@dataclass(frozen=True, slots=True)
class Flows:
    """``count``: by priority, how many flows have something ready; ``oldest``: some of these, the oldest first."""

    count: dict[str, int]
    oldest: list[Flow]


def oldest(queue: Queue, *, limit: int = LIMIT) -> Flows:
    """Up to ``limit`` flows of each priority, at most 50. One round trip.

    Flows take turns, so a flow with a long backlog is among the old ones, unless it has only just come.
    """
    reply = queue.run("flows", limit)
    now, count = int(reply[0]), reply[1:5]
    found = [_flow(now, *reply[at : at + _FIELDS]) for at in range(5, len(reply), _FIELDS)]
    # A priority's flows in rotation and those set aside come apart; together the oldest may be either.
    best = [
        flow
        for name in PRIORITIES
        for flow in sorted((one for one in found if one.priority == name), key=_age, reverse=True)[:limit]
    ]
    return Flows(dict(zip(PRIORITIES, count, strict=True)), sorted(best, key=_age, reverse=True))


def _age(flow: Flow) -> float:
    return flow.oldest_age


def _flow(now: int, priority: int, name: bytes, since: bytes, ready: int, aside: int) -> Flow:
    bucket, _, tenant = name.decode().partition("/")
    age = max(0.0, (now - float(since)) / 1e6)
    return Flow(PRIORITIES[priority], bucket, tenant, ready, age, bool(aside))
