"""Queues with several shards on a real Redis, each shard checked by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from penstock.queue.reshard import reshard
from penstock.queue.results import Failure, Outcome, Settlement
from penstock.queue.sharded import Clients, ShardedQueue
from tests.support.queue_layout import check_layout

REDIS_SECONDS = 30.0


def end_all(queue: ShardedQueue, outcome: Outcome = Outcome.STORED, failure: Failure | None = None) -> None:
    """Claims and settles all that waits, in every shard."""
    for shard in queue.shards:
        while batches := shard.claim(
            ["token"], lease=15.0, max_items=1000, max_bytes=2**30, max_wait=0.0, budget=2**30, holds_none=True
        ).batches:
            settlements = [Settlement(one.name, outcome, failure=failure) for one in batches[0].writes]
            shard.settle("token", settlements, max_attempts=8)


@contextmanager
def sharded(url: str, name: str, shards: int) -> Iterator[ShardedQueue]:
    """An empty queue with so many shards; each shard's layout in Redis must be whole when the test ends."""
    clients = Clients(url, REDIS_SECONDS, name)
    try:
        queue = ShardedQueue(clients, name)
        reshard(queue, shards)
        yield queue
        queue.refresh()
        for shard in queue.shards:
            check_layout(shard.client, shard.prefix)
    finally:
        clients.close()
