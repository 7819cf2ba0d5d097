"""Connecting in time, for threads. asyncio's connections are bounded from outside.

redis-py's time limits are for one operation each, and connecting takes many: one or more addresses, TLS, AUTH, twice
CLIENT SETINFO, SELECT.
"""

from __future__ import annotations

import math
import time
from typing import Any

import redis

LEAST_SECONDS = 0.001
"""For a socket operation that begins at the end of a time limit: 0 would mean that it must not wait at all."""


class _Limit:
    """redis-py's own property of this name, or what is left until the deadline if that is less."""

    def __set_name__(self, owner: type[Bounded], name: str) -> None:
        self._owner, self._name = owner, name

    def __get__(self, connection: Bounded | None, kind: type) -> Any:
        if connection is None:
            return self
        seconds: float = getattr(super(self._owner, connection), self._name)
        return seconds if connection.deadline == math.inf else connection.bound(seconds)

    def __set__(self, connection: Bounded, seconds: float) -> None:
        getattr(super(self._owner, type(connection)), self._name).__set__(connection, seconds)


class Bounded:
    """Mixed into redis-py's connections.

    Attributes:
        deadline: while connecting, by time.monotonic. redis-py asks for its time limit before it connects to an address
            and before TLS; of what comes then, each command begins with `send_command`.
    """

    deadline = math.inf
    socket_timeout: Any = _Limit()
    socket_connect_timeout: Any = _Limit()

    def bound(self, seconds: float) -> float:
        return min(seconds, max(LEAST_SECONDS, self.deadline - time.monotonic()))

    def send_command(self, *words: Any, **options: Any) -> None:
        base: Any = super()
        if self.deadline != math.inf:
            base.update_current_socket_timeout(self.socket_timeout)
        base.send_command(*words, **options)


class BoundedConnection(Bounded, redis.Connection):
    """Plain TCP."""


class BoundedSSLConnection(Bounded, redis.SSLConnection):
    """TLS."""


class BoundedUnixConnection(Bounded, redis.UnixDomainSocketConnection):
    """A Unix socket."""
