"""Which calls go out together: the queue of a producer's callers that wait for a round trip.

Concurrent callers share round trips: whoever comes first leads, sends what has gathered, and hands the lead to one that
waits. A lone caller sends its own write at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from penstock.queue.enqueue import MAX_CALL_BYTES, MAX_CALL_WRITES, Prepared

Group = list[Prepared]
T = TypeVar("T")


class Gathered(Generic[T]):
    """First in, first out; what is taken fits one script call. Not locked: its owner is."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[T, Group, int]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, waiter: T, group: Group) -> None:
        self._waiting.append((waiter, group, sum([write.cost for write in group])))

    def newest(self) -> T:
        return self._waiting[-1][0]

    def remove(self, waiter: T) -> bool:
        """Takes one out that gave up; False when it was taken already."""
        for at, entry in enumerate(self._waiting):
            if entry[0] is waiter:
                del self._waiting[at]
                return True
        return False

    def remove_all(self, gone: Callable[[T], bool]) -> list[T]:
        """Takes those out, oldest first. The others keep their order."""
        removed = [entry[0] for entry in self._waiting if gone(entry[0])]
        self._waiting = deque(entry for entry in self._waiting if not gone(entry[0]))
        return removed

    def holds(self, waiter: T) -> bool:
        return any(entry[0] is waiter for entry in self._waiting)

    def take(self) -> tuple[list[T], list[Group]]:
        """The next call's groups, at least one if any waits."""
        waiters: list[T] = []
        groups: list[Group] = []
        writes = size = 0
        while self._waiting:
            waiter, group, cost = self._waiting[0]
            if groups and (writes + len(group) > MAX_CALL_WRITES or size + cost > MAX_CALL_BYTES):
                break
            self._waiting.popleft()
            waiters.append(waiter)
            groups.append(group)
            writes += len(group)
            size += cost
        return waiters, groups
