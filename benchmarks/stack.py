"""The servers that all contenders share: one Redis with an append-only file, and one sink for PUTs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis

from benchmarks.bodies import BODY, BUCKET, bodies
from benchmarks.processes import Contender, Worker
from benchmarks.sink import Sink, measure_limit, open_sink
from penstock import Producer, Write
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.demo.servers import RedisServer, all_redis_servers

REDIS_SECONDS = 30.0
LARGE_AOF = 32 * 1024**2
"""Bytes of an append-only file that is rewritten now, so that no rewrite of the last round's falls into the next."""


class Stack:
    """A context manager that starts the servers and stops them. For one thread.

    Args:
        nginx: whether it is the sink where it is installed.
        server: Redis's or Valkey's executable; by default the Valkey of the wheel, where it runs, so that all measure
            with the same one.
    """

    def __init__(self, *, nginx: bool = True, server: str | None = None) -> None:
        self._nginx = nginx
        self._executable = server
        self._held = ExitStack()

    def __enter__(self) -> Self:
        executable = self._executable or next(iter(all_redis_servers()), None)
        with ExitStack() as held:
            directory = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
            self._server = held.enter_context(RedisServer(directory, executable=executable))
            self._sink: Sink = held.enter_context(open_sink(nginx=self._nginx))
            self.client: Any = held.enter_context(redis.Redis.from_url(self.redis_url, socket_timeout=REDIS_SECONDS))
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def redis_url(self) -> str:
        return self._server.url

    @property
    def redis_pid(self) -> int:
        return self._server.pid

    @cached_property
    def redis_name(self) -> str:
        info = self.client.info("server")
        return f"{info.get('server_name', 'redis').capitalize()} {info.get('valkey_version', info['redis_version'])}"

    @property
    def endpoint(self) -> str:
        return self._sink.endpoint_url

    @property
    def sink_name(self) -> str:
        return self._sink.name

    @cached_property
    def sink_limit(self) -> float | None:
        """PUTs of 1 KiB a second that the sink takes from wrk on 12 connections; None where there is no wrk."""
        return measure_limit(self.endpoint)

    def flush(self) -> None:
        """Empties Redis and the sink, and returns when Redis is at rest."""
        self.client.flushall()
        self._sink.clear()
        self.settle_down()
        if self.client.info("persistence")["aof_current_size"] > LARGE_AOF:
            with suppress(redis.exceptions.ResponseError):  # one has begun by itself
                self.client.bgrewriteaof()
        self.settle_down()

    def settle_down(self) -> None:
        """Returns when Redis rewrites no append-only file."""
        deadline = time.monotonic() + REDIS_SECONDS
        while self._rewrites() and time.monotonic() < deadline:
            time.sleep(0.01)

    def another(self) -> Stack:
        """One more Redis and sink, to enter."""
        return Stack(nginx=self._nginx, server=self._executable)

    def _rewrites(self) -> bool:
        info = self.client.info("persistence")
        return bool(info["aof_rewrite_in_progress"] or info.get("aof_rewrite_scheduled"))

    @contextmanager
    def queue(self, name: str = "default") -> Iterator[ShardedQueue]:
        """The operator's side of a queue, for its figures."""
        clients = Clients(self.redis_url, REDIS_SECONDS, name)
        try:
            yield ShardedQueue(clients, name)
        finally:
            clients.close()

    def fill(self, count: int, *, size: int = BODY, queue: str = "default", first: int = 0, **of_each: object) -> None:
        """Puts ``count`` writes with different keys, numbered from ``first``; ``of_each`` goes into each `Write`, as in
        ``priority="low"``."""
        texts = bodies(size)
        fields = cast("dict[str, Any]", of_each)
        with Producer(self.redis_url, queue=queue, bucket=BUCKET, timeout=REDIS_SECONDS) as producer:
            producer.put_many(
                Write(key=f"p/{number % 100}/{number}.json", body=texts[number % len(texts)], **fields)
                for number in range(first, first + count)
            )

    def worker(self, *, endpoint: str | None = None, queue: str = "default", **settings: object) -> Worker:
        """A worker to enter: `Worker`, sending to the sink or to ``endpoint``."""
        return Worker(self.redis_url, endpoint or self.endpoint, queue, **settings)

    def contender(self, module: str, *, endpoint: str | None = None, own: bool = False) -> Contender:
        """A contender to enter: `Contender`, sending to the sink or to ``endpoint``."""
        return Contender(module, self.redis_url, endpoint or self.endpoint, own=own)

    @contextmanager
    def latency(self, seconds: float) -> Iterator[str]:
        """The endpoint of another sink that takes so long for each answer, and keeps nothing."""
        with open_sink(nginx=self._nginx, latency=seconds) as sink:
            yield sink.endpoint_url
