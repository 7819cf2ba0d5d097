"""What this process holds: its claims, their leases, and how much room is left for more."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from penstock.queue.results import Batch
from penstock_worker.precedence import Precedence

# Suspend counts: a laptop or a virtual machine that sleeps past its lease must know it when it wakes.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds since boot, those asleep included; the clock of leases (rule LEASE)."""
    return time.clock_gettime(_CLOCK)


class LeaseLostError(Exception):
    """The lease of a claim is over: nothing of it may be sent any more."""


class StoppingError(Exception):
    """The worker stops now, or is unfit: what is not sent yet goes back to the queue."""


@dataclass(slots=True, eq=False)
class HeldClaim:
    """A claim from the reply that brought it to its release. ``deadline`` on the boottime clock."""

    batch: Batch
    deadline: float
    claimed_at: float
    budget: int
    shard: int = 0
    is_probe: bool = False
    alone: bool = False
    critical: bool = False
    lost: bool = False
    settled: bool = False
    sent: set[bytes] = field(default_factory=set)
    _ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def may_send(self, names: Iterable[bytes]) -> None:
        """Called right before each request (rule LEASE); from here on these writes may reach S3 (rule REL).

        Raises LeaseLostError unless the lease is alive, StoppingError once the claim is being given back.
        """
        with self._lock:
            if self._ended:
                raise StoppingError
            if self.lost or boottime() >= self.deadline:
                raise LeaseLostError(self.batch.token)
            self.sent.update(names)

    def end(self) -> list[bytes]:
        """Nothing is sent any more; returns what may have been."""
        with self._lock:
            self._ended = True
            return list(self.sent)


@dataclass(slots=True, eq=False)
class Room:
    """What one shard's consumer may claim now; nobody else claims it meanwhile.

    Attributes:
        slots: batches.
        budget: bytes of bodies.
        holds_none: the process holds nothing, and no other consumer claims before this room is given back (rule ALONE).
        critical: for critical writes only: the slot that is kept for them.
    """

    shard: int
    slots: int
    budget: int
    holds_none: bool
    critical: bool = False
    claimed: list[Batch] = field(default_factory=list)


class Held:
    """The claims of this process, of all shards. Safe to share between threads.

    Args:
        slots: batches that may be held at once, until `resize` says otherwise. One more may be of critical writes.
        budget: bytes of bodies that may be held at once.
        unfit: says why this host may claim and send nothing now, or None.
    """

    def __init__(self, slots: int, budget: int, unfit: Callable[[], str | None] = lambda: None) -> None:
        self._slots = slots
        self._budget = budget
        self.unfit = unfit
        self._bytes = 0
        self._claims: dict[str, HeldClaim] = {}
        self._rooms: list[Room] = []
        self._emptying = 0  # consumers that wait until nothing is held
        self._precedence = Precedence()
        self._reserving: set[int] = set()  # shards that wait for bytes, also between two calls
        self._changed = threading.Condition()
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self.stopping = threading.Event()
        """Set first: nothing new is claimed."""
        self.aborting = threading.Event()
        """Set when the time limit of a stop is over: nothing new is sent either."""

    def new_tokens(self, count: int) -> list[str]:
        """Names for claims that nobody else uses."""
        return [f"{self._prefix}-{next(self._numbers)}" for _ in range(count)]

    def resize(self, slots: int) -> None:
        """So many batches may be held from now on; those above it are kept until they end."""
        if slots != self._slots:
            with self._changed:
                self._slots = slots
                self._changed.notify_all()

    def wait_for_room(self, timeout: float) -> tuple[int, int, bool]:
        """Free slots, free bytes, and whether nothing is held; waits up to ``timeout`` seconds for a slot."""
        with self._changed:
            self._changed.wait_for(lambda: self._free() > 0 or self.stopping.is_set(), timeout)
            if self.stopping.is_set():
                return 0, 0, False
            return self._free(), max(0, self._budget - self._bytes), not self._claims

    def take_room(
        self, shard: int, timeout: float, *, empty: bool = False, needs: int = 0, may_be_alone: bool = True
    ) -> Room | None:
        """What a consumer may claim, when it is its turn and there is any within ``timeout`` seconds; else None.

        `give_back` ends it, whatever became of the claim.

        Args:
            empty: not before nothing else is held. Meanwhile those whose turn comes later get nothing.
            needs: not before so many bytes are free, or nothing is held. Those whose turn comes later get nothing, but
                for critical writes, until this shard got its room: it keeps its place from one call to the next.
            may_be_alone: False for one that may have to wait for Redis: without it the others need not wait too.
        """

        def is_due() -> bool:
            if not self._precedence.is_first(shard):
                return False
            if self._is_empty():
                return True
            return not empty and self._free() > 0 and self._free_bytes() >= needs

        with self._changed:
            if shard not in self._reserving:
                self._precedence.enter(shard)
            self._reserving.discard(shard)
            self._emptying += empty
            room = None
            try:
                if self._changed.wait_for(lambda: self.stopping.is_set() or is_due(), timeout):
                    if self.stopping.is_set():
                        return None
                    room = self._room(shard, needs, may_be_alone=may_be_alone)
            finally:
                if room is None and needs:
                    self._reserving.add(shard)
                else:
                    self._precedence.leave(shard)
                self._emptying -= empty
                self._changed.notify_all()
            if room is not None:
                self._rooms.append(room)
            return room

    def forget(self, shard: int) -> None:
        """It does not wait for bytes any more."""
        with self._changed:
            if shard in self._reserving:
                self._reserving.discard(shard)
                self._precedence.leave(shard)
                self._changed.notify_all()

    def has_critical_room(self) -> bool:
        """Whether `take_critical_room` would give some now. Nobody is waited for: it is asked often."""
        with self._changed:
            return self._has_critical_room()

    def take_critical_room(self, shard: int) -> Room | None:
        """Room for critical writes only, one batch of them, if there is any now; `give_back` ends it."""
        with self._changed:
            if not self._has_critical_room():
                return None
            self._precedence.enter(shard)
            self._precedence.leave(shard)  # it takes no turn, but what it brings counts
            room = Room(shard, 1, self._free_bytes(), holds_none=False, critical=True)
            self._rooms.append(room)
            return room

    def _has_critical_room(self) -> bool:
        if self.stopping.is_set() or self._emptying or self._is_alone() or self._critical_taken():
            return False
        return self._free_bytes() > 0

    def _room(self, shard: int, needs: int, *, may_be_alone: bool) -> Room:
        """Of what is free each of those that wait gets an equal part, or what it needs."""
        free, free_bytes = self._free(), self._free_bytes()
        slots = -(-free // self._precedence.count)
        budget = max(free_bytes * slots // free, min(needs, free_bytes))
        return Room(shard, slots, budget, self._is_empty() and may_be_alone)

    def _free_bytes(self) -> int:
        return max(0, self._budget - self._bytes - sum(room.budget for room in self._rooms))

    def give_back(self, room: Room) -> None:
        """The claim is over, and what it brought was added."""
        with self._changed:
            self._rooms.remove(room)
            writes = [write for batch in room.claimed for write in batch.writes]
            alone = any(batch.alone for batch in room.claimed)
            self._precedence.took(room.shard, [write.priority for write in writes], alone=alone)
            self._changed.notify_all()

    def _is_empty(self) -> bool:
        return not self._claims and not self._rooms

    def _is_alone(self) -> bool:
        """Beside a swept write, which may be what kills its process, nothing else is held (rule ALONE)."""
        return any(claim.alone for claim in self._claims.values()) or any(room.holds_none for room in self._rooms)

    def _critical_taken(self) -> bool:
        """Whether the slot kept for critical writes is in use: however they were claimed, a batch of them is in it."""
        return any(claim.critical for claim in self._claims.values()) or any(room.critical for room in self._rooms)

    def _free(self) -> int:
        if self._is_alone():
            return 0
        taken = len(self._claims) + sum(room.slots for room in self._rooms)
        return max(0, self._slots + self._critical_taken() - taken)

    def add(self, batch: Batch, deadline: float, *, is_probe: bool = False, room: Room | None = None) -> HeldClaim:
        """``room``: what it was claimed in."""
        shard = 0 if room is None else room.shard
        claim = HeldClaim(batch, deadline, boottime(), batch.size, shard, is_probe, batch.alone, batch.critical)
        with self._changed:
            if room is not None:
                room.claimed.append(batch)
                room.slots, room.budget = room.slots - 1, max(0, room.budget - batch.size)
            self._claims[batch.token] = claim
            self._bytes += claim.budget
        return claim

    def get(self, token: str) -> HeldClaim | None:
        return self._claims.get(token)

    def remove(self, token: str) -> HeldClaim | None:
        with self._changed:
            claim = self._claims.pop(token, None)
            if claim is not None:
                self._bytes -= claim.budget
                self._changed.notify_all()
            return claim

    def all(self) -> list[HeldClaim]:
        with self._changed:
            return list(self._claims.values())

    def stop(self) -> None:
        """No more claims; whoever waits for room is woken."""
        with self._changed:
            self.stopping.set()
            self._changed.notify_all()

    def wait_until_empty(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._claims, timeout)
