"""What this process holds: its claims, their leases, and how much room is left for more."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from penstock.queue.results import Batch

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
    is_probe: bool = False
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


class Held:
    """The claims of this process. Safe to share between threads.

    Args:
        slots: batches that may be held at once, until `resize` says otherwise.
        budget: bytes of bodies that may be held at once.
        unfit: says why this host may claim and send nothing now, or None.
    """

    def __init__(self, slots: int, budget: int, unfit: Callable[[], str | None] = lambda: None) -> None:
        self._slots = slots
        self._budget = budget
        self.unfit = unfit
        self._bytes = 0
        self._claims: dict[str, HeldClaim] = {}
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

    def _free(self) -> int:
        """Beside a swept write, which may be what kills its process, nothing else is held (rule ALONE)."""
        if any(claim.batch.alone for claim in self._claims.values()):
            return 0
        return max(0, self._slots - len(self._claims))

    def wait_for_more_room(self, slots: int, timeout: float) -> None:
        """Waits until more than ``slots`` are free, because a claim has ended; for a worker whose bytes are spent."""
        with self._changed:
            self._changed.wait_for(lambda: self._free() > slots or self.stopping.is_set(), timeout)

    def add(self, batch: Batch, deadline: float, *, is_probe: bool = False) -> HeldClaim:
        claim = HeldClaim(batch, deadline, boottime(), batch.size, is_probe)
        with self._changed:
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
