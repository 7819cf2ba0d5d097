"""A master with its replicas and the three Sentinels that watch them, as real processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock_worker.demo.process import LOOPBACK, ServerProcess
from penstock_worker.demo.servers import RedisServer, find_redis_server
from tests.support.wait import wait_until

SERVICE = "the-master"
SENTINELS = 3
QUORUM = 2
DOWN_AFTER = 2.0
"""Seconds without an answer until a Sentinel takes a server for dead. It connects once a second at most: with less than
that it would take a new master, which it is not connected to yet, for dead, and go back to the old one."""
LIMIT = 60.0
"""Seconds, against hangs only."""
NO_DELAY = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--shutdown-timeout", "0")


class SentinelServers:
    """Leaving the context stops all, whatever happened inside.

    Args:
        extra: further options of the servers, as in ``("--requirepass", "secret")``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        executable: str | None = None,
        replicas: int = 1,
        extra: Sequence[str] = (),
        appendfsync: str = "everysec",
    ) -> None:
        self._directory = directory
        self._executable = executable
        self._replicas = replicas
        self._extra = (*NO_DELAY, *extra)
        self._appendfsync = appendfsync
        self._stack = ExitStack()
        self.servers: list[RedisServer] = []
        """The first is the master until there is a failover."""
        self.sentinels: list[ServerProcess] = []

    @property
    def url(self) -> str:
        nodes = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{nodes}/{SERVICE}/0"

    def __enter__(self) -> Self:
        try:
            master = self._start_server(0, ())
            for number in range(1, 1 + self._replicas):
                replica = self._start_server(number, ("--replicaof", f"{LOOPBACK} {master.port}"))
                wait_until(partial(self._is_linked, replica), LIMIT, "the replica has its master's data")
            for number in range(SENTINELS):
                self._start_sentinel(number, master.port)
            for sentinel in self.sentinels:
                wait_until(partial(self._knows_all, sentinel), LIMIT, "the Sentinels know each other")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def master(self) -> RedisServer:
        """As the first Sentinel that answers sees it."""
        port = self.master_port()
        return next(server for server in self.servers if server.port == port)

    def master_port(self, sentinel: int = 0) -> int:
        with self._client(self.sentinels[sentinel].port) as client:
            return int(cast("Any", client).sentinel_get_master_addr_by_name(SERVICE)[1])

    def wait_for_failover(self, old_port: int) -> RedisServer:
        """Returns the new master once every Sentinel names it and it takes writes."""

        def is_over() -> bool:
            ports = {self.master_port(number) for number in range(SENTINELS)}
            return len(ports) == 1 and old_port not in ports and self._role(ports.pop()) == "master"

        wait_until(is_over, LIMIT, "a replica is promoted")
        return self.master()

    def wait_for_replicas(self) -> None:
        """Returns when every other server is the master's replica, and has its data.

        Whichever is the master by then: on a busy machine a server may not answer for so long that the Sentinels
        replace it once more.
        """

        def all_are() -> bool:
            master = self.master_port()
            others = [server for server in self.servers if server.port != master]
            return self._role(master) == "master" and all(self._is_linked(server) for server in others)

        wait_until(all_are, LIMIT, "all other servers are the master's replicas")

    def _start_server(self, number: int, extra: Sequence[str]) -> RedisServer:
        home = self._directory / f"server-{number}"
        home.mkdir()
        server = RedisServer(
            home, executable=self._executable, appendfsync=self._appendfsync, extra=(*self._extra, *extra)
        )
        self._stack.callback(server.kill)  # a replica that writes its first file heeds no SIGTERM
        server.start()
        self.servers.append(server)
        return server

    def _start_sentinel(self, number: int, master_port: int) -> None:
        home = self._directory / f"sentinel-{number}"
        home.mkdir()
        config = home / "sentinel.conf"

        def command(port: int) -> list[str]:
            if not config.exists():  # it writes what it learns into its file, and reads that when it is started again
                lines = (
                    f"port {port}\nbind {LOOPBACK}\ndir {home}\n"
                    f"sentinel monitor {SERVICE} {LOOPBACK} {master_port} {QUORUM}\n"
                    f"sentinel down-after-milliseconds {SERVICE} {int(DOWN_AFTER * 1000)}\n"
                    f"sentinel failover-timeout {SERVICE} 3000\n"
                )
                config.write_text(lines)
            return [self._executable or find_redis_server(), str(config), "--sentinel"]

        def answers(port: int, _pid: int) -> bool:
            try:
                with self._client(port) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False

        process = ServerProcess(f"sentinel-{number}", home, command, answers)
        self._stack.callback(process.stop)
        process.start()
        self.sentinels.append(process)

    def _knows_all(self, sentinel: ServerProcess) -> bool:
        with self._client(sentinel.port) as client:
            state = cast("Any", client).sentinel_master(SERVICE)
        return bool(state["num-other-sentinels"] == SENTINELS - 1 and state["num-slaves"] == self._replicas)

    def _is_linked(self, server: RedisServer) -> bool:
        return self._replication(server.port).get("master_link_status") == "up"

    def _role(self, port: int) -> str:
        return self._replication(port).get("role", "")

    def _replication(self, port: int) -> dict[str, str]:
        """Empty when it does not tell: Sentinel closes all connections to a server whose role it changes."""
        try:
            with self._client(port) as client:
                return cast("dict[str, str]", client.info("replication"))
        except redis.RedisError:
            return {}

    def _client(self, port: int) -> redis.Redis:
        password = dict(zip(self._extra[::2], self._extra[1::2], strict=False)).get("--requirepass")
        is_server = any(server.port == port for server in self.servers)
        return redis.Redis(
            *(LOOPBACK, port),
            socket_timeout=LIMIT,
            password=password if is_server else None,
            retry=Retry(NoBackoff(), 0),
        )
