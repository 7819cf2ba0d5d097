"""The guard's side of the queue: names on which a request of an earlier claim may have landed late."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from penstock.queue.client import Queue
from penstock.queue.names import split_name

STEP = 100
"""Names one look takes: as many HEAD requests."""
OTHERS_SECONDS = 0.5, 1.5
"""How long a guard puts off a name that it may not look at, at least and at most: far less than that guard sleeps."""


@dataclass(frozen=True, slots=True)
class Contested:
    """An idle name whose mark is due. ``seq`` and ``is_delete``: the newest write stored since it was marked."""

    name: bytes
    generation: bytes
    seq: int
    is_delete: bool

    @property
    def bucket(self) -> str:
        return split_name(self.name)[0]

    @property
    def key(self) -> str:
        return split_name(self.name)[1]


@dataclass(frozen=True, slots=True)
class Due:
    """What there is to do.

    Attributes:
        wait: seconds until the next name is due, None when none is seen.
        cleared: marks that needed no look.
        others: names that were due, of buckets that may not be used.
        skewed: this host's clock is too far from Redis's to know what is due: nothing was done.
    """

    wait: float | None
    cleared: int
    others: int
    names: list[Contested]
    skewed: bool = False


class Verdict(StrEnum):
    """What the guard found: nothing to do, or an object older than what was stored."""

    FINE = "f"
    REPAIR = "r"


class Judged(StrEnum):
    """What the queue made of a verdict. CHANGED and BUSY: nothing; the guard looks again later (rule CAS)."""

    CLEARED = "f"
    REPAIR_QUEUED = "r"
    CHANGED = "c"
    BUSY = "b"


def due(
    queue: Queue,
    *,
    hold: float,
    busy: float,
    buckets: Collection[str] | None = None,
    now: float | None = None,
    skew: float = 0.0,
    limit: int = STEP,
) -> Due:
    """Up to ``limit`` names to look at now. Each is put off by ``hold`` seconds, so that no two guards look at once.

    Args:
        busy: seconds until a name with a write in the queue is looked at again.
        buckets: those whose objects may be looked at, or all. Names of others are left to other guards.
        now: this host's time, seconds since the epoch; without it the clocks are not compared.
        skew: seconds by which it may differ from Redis's: a mark is due by the clock that old requests were dated by.
    """
    answer = queue.run(
        "guard_due",
        limit,
        int(hold * 1e6),
        int(busy * 1e6),
        int(random.uniform(*OTHERS_SECONDS) * 1e6),
        "" if now is None else int(now * 1e6),
        int(skew * 1e6),
        *(() if buckets is None else buckets or ("",)),  # no bucket has that name
    )
    if not answer:
        return Due(None, 0, 0, [], skewed=True)
    wait, cleared, others, *rest = answer
    names = [
        Contested(rest[at], rest[at + 1], int.from_bytes(rest[at + 2]), bool(rest[at + 3]))
        for at in range(0, len(rest), 4)
    ]
    return Due(None if wait < 0 else wait / 1000, cleared, others, names)


def judge(queue: Queue, verdicts: Sequence[tuple[Contested, Verdict]], *, recheck: float) -> list[Judged]:
    """Takes marks off or queues repairs. ``recheck``: seconds until a repaired name is looked at again (rule KEEP)."""
    args: list[bytes | str] = []
    for one, verdict in verdicts:
        args += (one.name, one.generation, verdict.value)
    if not args:
        return []
    return [Judged(chr(letter)) for letter in queue.run("guard_settle", int(recheck * 1e6), *args)]
