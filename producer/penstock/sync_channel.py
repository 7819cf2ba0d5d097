"""One producer's connection to Redis: sends an enqueue call, again if need be, and reads its answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as LateError

from penstock.attempts import Attempts, least_try
from penstock.calls import Caller, not_durable
from penstock.errors import PenstockError
from penstock.queue.commit import Group
from penstock.queue.durability import lost_master
from penstock.queue.enqueue import Accepted
from penstock.sync_line import Line


class Channel:
    """Used by one thread at a time. Connects on first use.

    Half the time limit goes to one socket operation at most, so that a dead connection leaves time for a live one.

    Raises:
        InvalidSetting: the URL cannot be read.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._url = caller.options.url
        self._durability = caller.options.durability
        self._step = caller.options.timeout / 2
        self._least = least_try(caller.options.timeout)
        self._line = Line(self._url, self._step, caller.options.queue, caller.shard, caller.shards, self._durability)

    def close(self) -> None:
        self._line.close()

    def ready(self, deadline: float) -> bool:
        """Connects, if need be, so that a failure to is no failure of a call. True when that took time.

        Raises:
            QueueUnavailable: nothing was sent.
        """
        if self._line.is_ready():
            return False
        attempts = Attempts(self._url, deadline)
        while True:
            try:
                self._connect(deadline)
                return True
            except RedisError as error:
                pause, _ = attempts.after(error, sent=False)
            time.sleep(pause)

    def send(
        self, groups: list[Group], deadline: float, meanwhile: Callable[[], None] | None = None
    ) -> list[Accepted | PenstockError]:
        """One call for all groups, on a connection that is `ready`. ``meanwhile``: what to do while Redis works.

        Raises:
            QueueUnavailable, QueueMismatch: for the call as a whole.
        """
        line = self._line
        command, replies = self._caller.encode(groups)
        attempts: Attempts | None = None
        while True:
            sent = False
            try:
                if not line.in_step:
                    self._connect(deadline)
                sent = True
                answer, refused, missing = self._exchange(command, replies, deadline, meanwhile)
                if isinstance(answer, bytes):
                    outcomes = self._caller.decode(answer, groups, refused)
                    return outcomes if missing is None else not_durable(outcomes, groups, self._durability, missing)
                line.close()
                raise InvalidResponse("an answer that is none of Penstock's")
            except RedisError as error:
                if not line.in_step:
                    line.close()
                attempts = attempts or Attempts(self._url, deadline)
                pause, needs_script = attempts.after(error, sent=sent)
            if needs_script:
                command, replies = self._caller.with_script(command, replies)
            else:
                line.close()  # a new connection may lead to another server, which became the master
            time.sleep(pause)

    def _connect(self, deadline: float) -> None:
        try:
            self._line.connect(deadline)
        except RedisError:
            self.close()
            raise
        if deadline - time.monotonic() < self._least:
            # The next caller's call finds the connection there.
            raise LateError("connecting to it took until the end of the time limit")

    def _exchange(
        self, command: bytes, replies: int, deadline: float, meanwhile: Callable[[], None] | None
    ) -> tuple[object, ResponseError | None, str | None]:
        """The answer, what Redis refused beside it, and what it lacks to be as durable as asked for at the end."""
        line, durability = self._line, self._durability
        if not durability.waits:
            plain = line.exchange_and_wait(command, replies, deadline, meanwhile, waits=False)
            return plain.answer, plain.refused, None
        left = deadline - time.monotonic()
        behind = durability.command(min(left, self._step))
        answer, refused, verdict = line.exchange_and_wait(command + behind, replies, deadline, meanwhile)
        while (missing := durability.missing(verdict)) and (left := durability.left(verdict, deadline)):
            _, _, verdict = line.exchange_and_wait(durability.command(min(left, self._step)), 0, deadline)
        lost = lost_master(verdict)
        if lost is not None:
            line.close()
            raise lost
        return answer, refused, missing
