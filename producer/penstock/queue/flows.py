"""Flows with something ready: those that have waited longest, found without a walk through the backlog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from penstock.queue.client import Queue
from penstock.queue.names import PRIORITIES
from penstock.queue.sharded import AnyQueue

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
    """``count``: by priority, how many flows have something ready; with several shards there may be more.

    ``oldest``: some of these, the oldest first.
    """

    count: dict[str, int]
    oldest: list[Flow]


def oldest(queue: AnyQueue, *, limit: int = LIMIT) -> Flows:
    """Up to ``limit`` flows of each priority, at most 50. One round trip a shard.

    Flows take turns, so a flow with a long backlog is among the old ones, unless it has only just come.
    """
    each = [_of_shard(shard, limit) for shard in queue.shards]
    found = _together(flow for _, flows in each for flow in flows)
    listed = Counter(flow.priority for flow in found)
    # Which flows of different shards are the same is known only of those that came.
    count = {name: max(listed[name], *(counts[name] for counts, _ in each)) for name in PRIORITIES}
    # A priority's flows in rotation and those set aside come apart; together the oldest may be either.
    best = [
        flow
        for name in PRIORITIES
        for flow in sorted((one for one in found if one.priority == name), key=_age, reverse=True)[:limit]
    ]
    return Flows(count, sorted(best, key=_age, reverse=True))


def _of_shard(shard: Queue, limit: int) -> tuple[dict[str, int], list[Flow]]:
    reply = shard.run("flows", limit)
    flows = [_flow(int(reply[0]), *reply[at : at + _FIELDS]) for at in range(5, len(reply), _FIELDS)]
    return dict(zip(PRIORITIES, reply[1:5], strict=True)), flows


def _together(flows: Iterable[Flow]) -> list[Flow]:
    """A flow's parts in several shards as one: what any of them holds up counts as held up."""
    found: dict[tuple[str, str, str], Flow] = {}
    for flow in flows:
        name = flow.priority, flow.bucket, flow.tenant
        known = found.get(name)
        if known is not None:
            age, aside = max(known.oldest_age, flow.oldest_age), known.set_aside or flow.set_aside
            flow = replace(flow, ready=known.ready + flow.ready, oldest_age=age, set_aside=aside)
        found[name] = flow
    return list(found.values())


def _age(flow: Flow) -> float:
    return flow.oldest_age


def _flow(now: int, priority: int, name: bytes, since: bytes, ready: int, aside: int) -> Flow:
    bucket, _, tenant = name.decode().partition("/")
    age = max(0.0, (now - float(since)) / 1e6)
    return Flow(PRIORITIES[priority], bucket, tenant, ready, age, bool(aside))
