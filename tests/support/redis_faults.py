"""What happens to a Redis in production, each as a context: it begins, and when it is left it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import redis

from penstock.queue.connection import open_client
from penstock_worker.demo.servers import RedisServer
from tests.support.wait import wait_until

LIMIT = 60.0
"""Seconds, against hangs only."""
BUSY_OPTIONS = ("--busy-reply-threshold", "1")
"""Of a server that says soon that a script blocks it."""
COMMANDS = 50_000
"""Redis looks at its clients after every 1,024 that it loads."""
LOADS_SLOWLY = ("--key-load-delay", "50")
"""Of a server that loads `COMMANDS` for seconds: microseconds for each, and what a sleep takes besides."""


@contextmanager
def killed(server: RedisServer) -> Iterator[None]:
    """SIGKILL."""
    server.kill()
    yield
    server.start()


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    """SIGTERM, as a package's upgrade does."""
    server.stop()
    yield
    server.start()


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    """SIGSTOP."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """A script that never ends, until the context is left, or somebody kills it before."""
    with open_client(server.url, LIMIT) as client:
        connection: Any = client.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", 0)
        wait_until(lambda: _answers(client).startswith("BUSY"), LIMIT, "the script blocks")
        try:
            yield
        finally:
            if _answers(client).startswith("BUSY"):
                client.script_kill()
            connection.disconnect()


@contextmanager
def full_memory(server: RedisServer) -> Iterator[None]:
    """``maxmemory`` is below what is used."""
    with open_client(server.url, LIMIT) as client:
        client.config_set("maxmemory", "1mb")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


@contextmanager
def read_only(server: RedisServer) -> Iterator[None]:
    """It is made a replica, of a master that is not there."""
    with open_client(server.url, LIMIT) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def loading(server: RedisServer) -> Iterator[None]:
    """It was killed, and loads its data. It has to be one of `LOADS_SLOWLY`."""
    with open_client(server.url, LIMIT) as client, ThreadPoolExecutor(1) as threads:
        pipeline = client.pipeline(transaction=False)
        for number in range(COMMANDS):
            pipeline.set(f"filling/{number}", b"")
        pipeline.execute()
        server.kill()
        start = threads.submit(server.start)
        try:
            wait_until(lambda: "loading" in _answers(client), LIMIT, "it loads")
            yield
        finally:
            client.config_set("key-load-delay", "0")
            start.result(LIMIT)


class Fault(Protocol):
    __name__: str

    def __call__(self, server: RedisServer) -> AbstractContextManager[None]: ...


FAULTS: tuple[Fault, ...] = (killed, stopped, frozen, busy, full_memory, read_only, loading)


def _answers(client: redis.Redis) -> str:
    try:
        client.get("any")
    except redis.RedisError as error:
        return str(error)
    return ""
