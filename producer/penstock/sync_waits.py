"""Waits for writes on connections of their own, so that they hold up no ``put``."""

from __future__ import annotations

import time
from collections import defaultdict, deque

from redis.exceptions import RedisError, ResponseError

from penstock.calls import Options
from penstock.queue.connection import Fate, fate_of
from penstock.shards import ShardCount
from penstock.sync_line import Line
from penstock.values import Receipt, WaitResult
from penstock.waits import IDLE_LINES, Wait, closed


class Waits:
    """Safe to share between threads, not between processes. Without a lock: a deque's own steps are whole."""

    def __init__(self, options: Options, known: ShardCount) -> None:
        self._options = options
        self._known = known
        self._idle: defaultdict[tuple[int, int], deque[Line]] = defaultdict(deque)  # a shard, of how many
        self._closed = False

    def wait(self, receipt: Receipt, timeout: float) -> WaitResult:
        """See ``Producer.wait``."""
        wait = Wait(self._options, self._known, receipt, timeout)
        while True:
            try:
                step = wait.answered(self._look(wait))
            except RedisError as error:
                step = wait.failed(error)
            if isinstance(step, WaitResult):
                return step
            time.sleep(step)

    def close(self) -> None:
        """Those that wait raise QueueUnavailable at their next look."""
        self._closed = True
        for lines in list(self._idle.values()):
            _close_idle(lines, 0)

    def _look(self, wait: Wait) -> object:
        if self._closed:
            raise closed()
        shard = wait.shard()
        idle = self._idle[shard]
        try:
            line = idle.pop()
        except IndexError:
            line = Line(self._options.url, self._options.timeout / 2, self._options.queue, *shard)
        command, replies, deadline = wait.look()
        try:
            if not line.is_ready():
                line.connect(deadline)
            return line.exchange(command, replies, deadline)
        except ResponseError as error:
            if fate_of(error) is Fate.REFUSED:
                line.close()  # a new connection may lead to another server
            raise
        finally:
            self._give_back(line, idle)

    def _give_back(self, line: Line, idle: deque[Line]) -> None:
        if line.in_step:
            idle.append(line)
            _close_idle(idle, 0 if self._closed else IDLE_LINES)
        else:
            line.close()


def _close_idle(lines: deque[Line], keep: int) -> None:
    while len(lines) > keep:
        try:
            lines.popleft().close()
        except IndexError:  # another thread was faster
            return
