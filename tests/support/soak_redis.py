"""The Redis of a soak, in the ways that differ in what they may lose, and what happens to each."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from penstock_worker.demo.servers import RedisServer
from tests.support.sentinel_servers import DOWN_AFTER, SentinelServers

ALWAYS, EVERYSEC, SENTINEL = "always", "everysec", "sentinel"
KINDS = (ALWAYS, EVERYSEC, SENTINEL)

HELD_BACK = 2.0
"""Seconds of answered writes that Redis may not have written (everysec), or not have sent to its replica."""
LOSSES = (0.1, 1.5)
"""Seconds before a kill that are lost beside these."""

Later = Callable[[float, Callable[[], None]], None]


class SoakRedis(Protocol):
    """``happens`` is what happens to it, as it is counted. ``lost`` are the times of which it may have lost writes."""

    happens: str
    lost: list[tuple[float, float]]

    @property
    def url(self) -> str: ...

    def strike(self, later: Later) -> None: ...


class Always:
    """Every answered write is on disk: a kill loses nothing."""

    happens = "Redis killed"

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.url = server.url
        self.lost: list[tuple[float, float]] = []

    def strike(self, later: Later) -> None:
        self._server.kill()
        self._server.start()


class Everysec:
    """Its host dies: what was not on disk is gone, some of the last seconds."""

    happens = "Redis lost its last steps"

    def __init__(self, server: RedisServer, directory: Path, dice: random.Random) -> None:
        self._server = server
        self._directory = directory / "appendonlydir"
        self._dice = dice
        self.url = server.url
        self.lost: list[tuple[float, float]] = []

    def strike(self, later: Later) -> None:
        now, files, size = time.time(), self._files(), self._newest().stat().st_size

        def die() -> None:
            self._server.kill()
            if self._files() == files:  # else it has begun another file since, with all that was in this one
                os.truncate(self._newest(), size)
            self._server.start()
            self.lost.append((now - HELD_BACK, time.time()))

        later(self._dice.uniform(*LOSSES), die)

    def _files(self) -> str:
        (manifest,) = self._directory.glob("*.manifest")
        return manifest.read_text()

    def _newest(self) -> Path:
        """The file that it appends to."""
        lines = [line.split() for line in self._files().splitlines()]
        return self._directory / next(words[1] for words in reversed(lines) if words[-1] == "i")


class Sentinel:
    """The master is killed, and a replica promoted, which may not have got all of it."""

    happens = "failover of Redis"

    def __init__(self, servers: SentinelServers) -> None:
        self._servers = servers
        self.url = servers.url
        self.lost: list[tuple[float, float]] = []

    def strike(self, later: Later) -> None:
        began, master = time.time(), self._servers.master()
        port = master.port
        master.kill()
        self._servers.wait_for_failover(port)
        master.start()
        self._servers.wait_for_replicas()
        # Nobody accepts anything before the Sentinels have taken the master for dead; later, it is the new one.
        self.lost.append((began - HELD_BACK, began + DOWN_AFTER))


@contextmanager
def soak_redis(kind: str, directory: Path, dice: random.Random) -> Iterator[SoakRedis]:
    if kind == SENTINEL:
        with SentinelServers(directory) as servers:
            yield Sentinel(servers)
        return
    with RedisServer(directory, appendfsync=kind) as server:
        yield Always(server) if kind == ALWAYS else Everysec(server, directory, dice)
