"""What an operator changes about single writes in the queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from penstock.queue.client import Queue
from penstock.queue.look import Entry
from penstock.queue.names import PRIORITIES, join_name
from penstock.queue.sharded import AnyQueue

PURGE_STEP = 50
"""Writes one call removes: a few milliseconds of Redis's time."""


def move(queue: AnyQueue, bucket: str, key: str, priority: str) -> str:
    """Gives a waiting write another priority. Returns a letter, see ``move.lua``."""
    answer: bytes = queue.of(bucket, key).run("move", PRIORITIES.index(priority), join_name(bucket, key))
    return answer.decode()


def purge(queue: AnyQueue, entries: Sequence[Entry]) -> str:
    """Removes these writes with their payloads, unless they are in flight or something newer took their place.

    Returns one letter each, see ``purge.lua``, shard by shard; a call for every 50. Of an idle contested name nothing
    is removed.
    """
    by_shard: dict[Queue, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_shard[queue.of(entry.bucket, entry.key)].append(entry)
    return "".join(_purge(shard, some) for shard, some in by_shard.items())


def _purge(queue: Queue, entries: Sequence[Entry]) -> str:
    answer = ""
    for at in range(0, len(entries), PURGE_STEP):
        args: list[str | bytes] = []
        for entry in entries[at : at + PURGE_STEP]:
            args += (join_name(entry.bucket, entry.key), (entry.seq or 0).to_bytes(8))
        answer += queue.run("purge", *args).decode()
    return answer
