"""One producer's connection to Redis: sends an enqueue call, again if need be, and reads its answer."""

from __future__ import annotations

import time
from typing import Any, cast

from redis.exceptions import InvalidResponse, RedisError, ResponseError

from penstock.attempts import Attempts
from penstock.calls import Caller
from penstock.errors import PenstockError
from penstock.queue.commit import Group
from penstock.queue.connection import closed_by_peer, open_pool
from penstock.queue.enqueue import Accepted, decode_answer


class Channel:
    """Used by one thread at a time. Connects on first use.

    Half the time limit goes to one socket operation at most, so that a dead connection leaves time for a live one.

    Raises:
        InvalidSetting: the URL cannot be read.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._url = caller.options.url
        self._step = caller.options.timeout / 2
        self._pool = open_pool(self._url, self._step)  # kept: a Sentinel's connections ask it for the master
        self._connection = cast("Any", self._pool).make_connection()
        # True only between calls. Whatever ends a call early, an interrupt at any point included, leaves it False, and
        # the connection, which may still get the answer, is not used again.
        self._in_step = False

    def close(self) -> None:
        self._in_step = False
        self._connection.disconnect()

    def ready(self, deadline: float) -> None:
        """Connects, if need be, so that a failure to is no failure of a call.

        Raises:
            QueueUnavailable: nothing was sent.
        """
        if self._in_step and not closed_by_peer(self._connection):
            return
        attempts = Attempts(self._url, deadline)
        while True:
            try:
                self._connect()
                return
            except RedisError as error:
                self.close()
                pause, _ = attempts.after(error, sent=False)
            time.sleep(pause)

    def send(self, groups: list[Group], deadline: float) -> list[Accepted | PenstockError]:
        """One call for all groups, on a connection that is `ready`.

        Raises:
            QueueUnavailable, QueueMismatch: for the call as a whole.
        """
        command, replies = self._caller.encode(groups)
        attempts: Attempts | None = None
        while True:
            sent = False
            try:
                if not self._in_step:
                    self._connect()
                self._in_step = False
                sent = True
                self._connection.send_packed_command((command,), check_health=False)
                return decode_answer(self._read(replies, deadline), groups)
            except RedisError as error:
                if not self._in_step:
                    self.close()
                attempts = attempts or Attempts(self._url, deadline)
                pause, needs_script = attempts.after(error, sent=sent)
            if needs_script:
                command, replies = self._caller.with_script(command, replies)
            else:
                self.close()  # a new connection may lead to another server, which became the master
            time.sleep(pause)

    def _connect(self) -> None:
        self.close()
        self._connection.connect()
        self._in_step = True

    def _read(self, replies: int, deadline: float) -> bytes:
        """The last reply; those of large bodies come before it. The first error counts, after all were read."""
        read = self._connection.read_response
        failure: ResponseError | None = None
        answer: object = None
        for _ in range(replies):
            left = deadline - time.monotonic()
            try:
                # Without a time limit of its own, the socket's counts, and two system calls are saved.
                if left >= self._step:
                    answer = read(disable_decoding=True)
                else:
                    answer = read(disable_decoding=True, timeout=max(left, 0.001))
            except ResponseError as error:
                failure = failure or error
        if failure is None and not isinstance(answer, bytes):
            raise InvalidResponse("an answer that is none of Penstock's")
        self._in_step = True
        if failure is not None:
            raise failure
        return cast("bytes", answer)
