"""The connection of a producer that a test holds in its hand, and callers that wait behind it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from penstock import PenstockError, QueueFull
from penstock.calls import Caller
from penstock.group_commit import GroupCommit
from penstock.queue.commit import Group
from penstock.queue.enqueue import Accepted, Prepared
from tests.support.wait import wait_until

T = TypeVar("T")

HANG = 30.0
"""Seconds after which something hangs."""
LONG = 60.0
"""A call's time limit that no test reaches."""


class HeldChannel:
    """In the place of ``sync_channel.Channel``. Each call waits for a permit when the test holds it."""

    def __init__(self, caller: Caller) -> None:
        self.calls: list[list[bytes]] = []
        self.deadlines: list[float] = []
        self.permits = threading.Semaphore(0)
        self.held = False
        self.closed = 0
        self.connects = True
        self.on_ready: Callable[[], None] = lambda: None
        self.on_send: Callable[[], None] = lambda: None
        self.refused: set[bytes] = set()
        self._seq = itertools.count(1)
        self._users = 0

    def ready(self, deadline: float) -> bool:
        self.on_ready()
        connected, self.connects = self.connects, False
        return connected

    def send(
        self, groups: list[Group], deadline: float, meanwhile: Callable[[], None] | None = None
    ) -> list[Accepted | PenstockError]:
        assert self._users == 0, "two leaders at a time"
        self._users += 1
        try:
            self.calls.append([write.name for group in groups for write in group])
            self.deadlines.append(deadline)
            if meanwhile is not None:
                meanwhile()
            if self.held:
                assert self.permits.acquire(timeout=HANG)
            self.on_send()
            full = QueueFull("items", 1, 1)
            return [
                full if group[0].name in self.refused else [(next(self._seq), False) for _ in group] for group in groups
            ]
        finally:
            self._users -= 1

    def close(self) -> None:
        self.closed += 1


Made = Callable[..., tuple[GroupCommit, HeldChannel]]
"""Makes one with a time limit in seconds."""


def group(name: str, size: int = 1) -> Group:
    return [Prepared(name.encode(), b"", b"", None, b"") for _ in range(size)]


def gathered(commit: GroupCommit) -> int:
    return len(commit._gathered._waiting)


def start(threads: ThreadPoolExecutor, commit: GroupCommit, *names: str) -> list[Future[Accepted]]:
    """Callers that wait behind the call under way, in this order."""
    futures = []
    for name in names:
        before = gathered(commit)
        futures.append(threads.submit(commit.accept, group(name)))
        wait_until(lambda before=before: gathered(commit) > before, HANG, f"{name} to wait")  # type: ignore[misc]
    return futures


def start_leader(threads: ThreadPoolExecutor, commit: GroupCommit, channel: HeldChannel, name: str) -> Future[Accepted]:
    """A caller that is in the middle of its call, until the test gives a permit."""
    channel.held = True
    calls = len(channel.calls)
    future = threads.submit(commit.accept, group(name))
    wait_until(lambda: len(channel.calls) > calls, HANG, f"{name} to lead")
    return future


def error_of(future: Future[T]) -> BaseException:
    error = future.exception(HANG)
    assert error is not None
    return error


def is_idle(commit: GroupCommit) -> bool:
    return commit._leader is None and not commit._gathered
