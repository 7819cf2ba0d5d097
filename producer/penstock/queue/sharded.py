"""All shards of a queue together, for operators and for a worker's start."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, cast

import redis

from penstock.errors import InvalidSetting
from penstock.queue.address import kind_of
from penstock.queue.client import GUARD_SECONDS, Queue
from penstock.queue.connection import open_client
from penstock.queue.merged import merge_stats
from penstock.queue.names import join_name, shard_of
from penstock.queue.results import DeadLetter, Stats


class AnyQueue(Protocol):
    """A queue as operators see it: all shards of one, or a `Queue` that is all there is."""

    @property
    def name(self) -> str: ...

    @property
    def shards(self) -> Sequence[Queue]: ...

    def of(self, bucket: str, key: str) -> Queue: ...

    def stats(self) -> Stats: ...

    def dead_letters(self, *, limit: int = ..., newest_first: bool = ...) -> list[DeadLetter]: ...


def number_of(shards: bytes | None, shards_was: bytes | None) -> int:
    """How many shards there are by two fields of shard 0's meta; while that is being changed, how many until then."""
    return int(shards or 1) or int(shards_was or 1)


def part_of(total: int, shard: int, shards: int) -> int:
    """A shard's part of a limit of the queue's; all parts together are the limit."""
    return total // shards + (shard < total % shards)


class Clients:
    """Redis clients for the shards of a queue: on a cluster one for each, else one for all.

    Safe to share between threads.

    Args:
        timeout: seconds that one socket operation takes at most.

    Raises:
        InvalidSetting: the URL cannot be read.
    """

    def __init__(self, url: str, timeout: float, queue: str) -> None:
        self._url = url
        self._timeout = timeout
        self._queue = queue
        self._is_cluster = kind_of(url) == "cluster"
        self._clients: dict[tuple[int, int], redis.Redis] = {}
        self.of(0, 1)

    def of(self, shard: int, shards: int) -> redis.Redis:
        """The client for shard ``shard`` of ``shards``."""
        key = (shard, shards) if self._is_cluster and shard else (0, 1)
        if key not in self._clients:
            self._clients[key] = open_client(self._url, self._timeout, self._queue, *key)
        return self._clients[key]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def clients_of(shards: Iterable[Queue]) -> list[redis.Redis]:
    """Theirs, each once: on a cluster one a shard, else one."""
    return list({id(shard.client): shard.client for shard in shards}.values())


class ShardedQueue:
    """A queue with as many shards as it has. Safe to share between threads; a call is a round trip to each shard.

    Until `refresh`, it counts with one shard.

    Args:
        guard_seconds, clock: as `Queue`'s.

    Raises:
        redis.exceptions.RedisError: from every call, as redis-py raises it.
    """

    def __init__(
        self, clients: Clients, name: str, *, guard_seconds: float = GUARD_SECONDS, clock: str | None = None
    ) -> None:
        self.name = name
        self._clients = clients
        self._guard_seconds = guard_seconds
        self._clock = clock
        self._shards = self.with_shards(1)

    @property
    def shards(self) -> Sequence[Queue]:
        """All of them, the first one first."""
        return self._shards

    def of(self, bucket: str, key: str) -> Queue:
        """The shard of a name."""
        shards = self._shards
        return shards[shard_of(join_name(bucket, key).encode(), len(shards))]

    def with_shards(self, count: int) -> tuple[Queue, ...]:
        """The shards that the queue has when they are so many. No round trip."""
        return tuple(
            Queue(
                self._clients.of(shard, count),
                self.name,
                shard=shard,
                shards=count,
                guard_seconds=self._guard_seconds,
                clock=self._clock,
            )
            for shard in range(count)
        )

    def refresh(self) -> None:
        """Asks shard 0 how many there are."""
        first = self._shards[0]
        fields = first.client.hmget(first.prefix + "meta", ["shards", "shards_was"])
        count = number_of(*cast("list[bytes | None]", fields))
        if count != len(self._shards):
            self._shards = self.with_shards(count)

    def stats(self) -> Stats:
        """Of all together. Notices when their number has changed."""
        found = [shard.stats() for shard in self._shards]
        if found[0].shards != len(found):
            self.refresh()
            found = [shard.stats() for shard in self._shards]
        return merge_stats(found)

    def dead_letters(self, *, limit: int = 100, newest_first: bool = False) -> list[DeadLetter]:
        """By the time of their death. Two round trips a shard."""
        each = [shard.dead_letters(limit=limit, newest_first=newest_first) for shard in self._shards]
        merged: Iterator[DeadLetter] = heapq.merge(*each, key=lambda letter: letter.died_at, reverse=newest_first)
        return list(islice(merged, limit))

    def configure(self, *, items: int | None = None, size: int | None = None, dead_size: int | None = None) -> None:
        """Sets the queue's limits: writes, their bytes, and dead letters' bytes. Each shard gets its part."""
        given = {"items": items, "bytes": size, "dead_bytes": dead_size}
        fields = {name: value for name, value in given.items() if value is not None}
        count = len(self._shards)
        if any(value < count for value in fields.values()):
            raise InvalidSetting(f"a limit of the queue must be at least 1 for each of its shards, {count}")
        for number, shard in enumerate(self._shards if fields else ()):
            parts: Mapping[str, int] = {name: part_of(value, number, count) for name, value in fields.items()}
            shard.set_meta(parts)
