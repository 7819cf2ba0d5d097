"""A connection to Redis that is in step: it holds no answer that nobody read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, cast

from redis.exceptions import BusyLoadingError, ResponseError

from penstock.queue.bounded import LEAST_SECONDS
from penstock.queue.connection import closed_by_peer, open_pool
from penstock.queue.durability import MEMORY, PROBE, Durability, no_sync
from penstock.queue.resp import LoadingInPartError, Replies, sort_out


class Line:
    """Used by one thread at a time. Its errors are redis-py's.

    Args:
        step: seconds that one socket operation takes at most.
        queue: it leads to the server that has this queue's shard.
        durability: a server that cannot give it is refused when the line connects.

    Raises:
        InvalidSetting: the URL cannot be read.
    """

    def __init__(
        self, url: str, step: float, queue: str, shard: int = 0, shards: int = 1, durability: Durability = MEMORY
    ) -> None:
        self._step = self._limit = step
        self._probes = durability.fsync
        self._pool = open_pool(url, step, queue, shard, shards)
        self._connection = cast("Any", self._pool).make_connection()
        # True only between calls. Whatever ends a call early, an interrupt at any point included, leaves it False, and
        # the connection, which may still get the answer, is not used again.
        self.in_step = False

    def close(self) -> None:
        self.in_step = False
        self._connection.disconnect()

    def is_ready(self) -> bool:
        return self.in_step and not closed_by_peer(self._connection)

    def connect(self, deadline: float) -> None:
        """Connects anew until then (time.monotonic), in operations that take a step each at most."""
        self.close()
        connection = self._connection
        connection.socket_connect_timeout = self._step  # a search for the master leaves what it had at last
        connection.deadline = deadline
        try:
            connection.connect()
            if self._probes:
                self._probe()
        finally:
            connection.deadline = math.inf
        self._limit = 0.0  # the socket has what was left for the last operation: set it anew
        self.in_step = True

    def _probe(self) -> None:
        self._connection.send_command(*PROBE, check_health=False)
        try:
            self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            self._connection.disconnect()
            raise no_sync(error) from None

    def exchange(self, command: bytes, replies: int, deadline: float) -> object:
        """Sends packed commands and reads their replies. Returns the last one.

        Raises:
            ResponseError: as `sort_out`, after all were read.
        """
        return self.exchange_and_wait(command, replies, deadline, waits=False).answer

    def exchange_and_wait(
        self,
        command: bytes,
        replies: int,
        deadline: float,
        meanwhile: Callable[[], None] | None = None,
        *,
        waits: bool = True,
    ) -> Replies:
        """The same, for commands with one behind them that waits. ``meanwhile``: what to do before they are read."""
        self.in_step = False
        seconds = max(LEAST_SECONDS, min(self._step, deadline - time.monotonic()))
        if seconds != self._limit:
            self._connection.update_current_socket_timeout(seconds)
            self._limit = seconds
        self._connection.send_packed_command((command,), check_health=False)
        if meanwhile is not None:
            meanwhile()
        return self._read(replies, deadline, waits)

    def _read(self, replies: int, deadline: float, waits: bool) -> Replies:
        read, limit = self._connection.read_response, self._limit
        found: list[object] = []
        for at in range(replies + waits):
            left = deadline - time.monotonic()
            try:
                # Without a time limit of its own, the socket's counts, and two system calls are saved.
                if left >= limit:
                    found.append(read(disable_decoding=True))
                else:
                    self._limit = 0.0  # a parser may leave the socket with the one that it began with: set it anew
                    found.append(read(disable_decoding=True, timeout=max(left, LEAST_SECONDS)))
            except ResponseError as error:
                found.append(error)
            except BusyLoadingError as error:
                if at == replies - 1:  # the script's
                    raise
                raise LoadingInPartError(str(error)) from None
        self.in_step = True
        return sort_out(found, replies)
