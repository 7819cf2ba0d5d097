"""Which shard's consumer claims next, when several want what room a process has.

What is urgent should go first wherever it waits, and no shard may starve. What waits in a shard is not known here, but
what it gave last is: a shard that gives urgent writes gets more turns, by the weights of the priorities, and one that
gave nothing for a while goes first, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterable

WEIGHTS = (8, 4, 2, 1)
"""By priority, as in scripts/include/shares.lua."""

ALONE_COST = 25.0
"""Writes of low priority that a claim counts as for which the whole process had to be empty: a batch of them."""


class Precedence:
    """Turns by what each shard was served, its share of them weighted (stride scheduling). Not locked: its owner is."""

    def __init__(self) -> None:
        self._served: dict[int, float] = {}
        self._now = 0.0
        self._waiting: list[int] = []

    def enter(self, shard: int) -> None:
        """It wants to claim. What it left unused while it wanted nothing is not saved up."""
        self._waiting.append(shard)
        self._served[shard] = max(self._served.get(shard, 0.0), self._now)

    def leave(self, shard: int) -> None:
        self._waiting.remove(shard)

    def is_first(self, shard: int) -> bool:
        """Whether none of those that wait goes before it."""
        return min(self._waiting, key=lambda other: (self._served[other], other)) == shard

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def took(self, shard: int, priorities: Iterable[int], *, alone: bool) -> None:
        """It has claimed writes of these priorities."""
        self._now = max(self._now, self._served[shard])
        cost = ALONE_COST if alone else sum(1 / WEIGHTS[priority] for priority in priorities)
        self._served[shard] += cost
