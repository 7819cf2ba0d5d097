"""What `tests.support.queue_model` is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.queue.enqueue import Prepared
from tests.support.queue_layout import ALONE, READY


@dataclass(frozen=True)
class Write:
    name: bytes
    body: bytes
    is_delete: bool
    tenant: bytes
    priority: int
    charge: int
    seq: int = 0
    since: int = 0

    @classmethod
    def of(cls, prepared: Prepared, body: bytes) -> Write:
        tail = prepared.tail
        return cls(
            prepared.name, body, bool(prepared.head[1] & 1), tail[1 : 1 + tail[0]], prepared.head[0],
            len(tail) + len(prepared.blob),
        )  # fmt: skip

    @property
    def flow(self) -> tuple[int, bytes, bytes]:
        return self.priority, self.name.partition(b"/")[0], self.tenant

    @property
    def age_order(self) -> tuple[int, bytes]:
        return self.since, self.name.partition(b"/")[2]


@dataclass
class Name:
    """A name in the queue. ``claimed`` differs from ``write`` while something newer waits behind the flight."""

    write: Write
    place: int = READY
    attempts: int = 0
    claimed: Write | None = None
    token: str = ""
    due: int = 0
    swept: bool = False
    parked_at: int = 0
    """Where it stands among the parked ones."""
    env_fault: int | None = None
    """When its last fault was, if that was the environment's."""

    def promote(self) -> None:
        self.place, self.attempts, self.claimed, self.swept, self.env_fault = READY, 0, None, False, None

    def make_ready(self) -> None:
        self.place = ALONE if self.swept else READY


@dataclass
class Mark:
    """A name is contested. ``look``: when the guard looks next; ``retained``: the newest write stored since."""

    deadline: int
    look: int = 0
    generation: int = 0
    retained: Write | None = None


@dataclass
class Epoch:
    """``of``: the server that the queue knows. ``seq``: writes with a lower number were accepted before.

    ``at``: when it began; ``until``: so long claims mark what they take, None before one has set it.
    """

    of: str | None = None
    seq: int = 0
    at: int = 0
    until: int | None = None


@dataclass
class Lease:
    deadline: int
    birth: int
    names: list[bytes] = field(default_factory=list)


@dataclass
class ClaimOptions:
    max_items: int
    max_bytes: int
    max_wait: float
    budget: int
    holds_none: bool
    batches: int
    only_critical: bool = False
