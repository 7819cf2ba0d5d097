"""Errors a caller can meet. All derive from PenstockError; messages say what to do next and never hold a payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.values import Receipt


class PenstockError(Exception):
    """Base of every error Penstock raises.

    Attributes:
        receipts: what the failing call had accepted before the error; only ``put_many`` and `NotDurable` fill it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.receipts: Sequence[Receipt] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls the class with ``args``, which is not what our constructors take; Celery and
        # multiprocessing pickle errors.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[PenstockError], args: tuple[object, ...], state: dict[str, Any]) -> PenstockError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidWrite(PenstockError, ValueError):
    """The write breaks a limit of S3's or of the queue's. Nothing was sent."""


class InvalidSetting(PenstockError, ValueError):
    """A setting has no usable value. The message names it."""


class QueueFull(PenstockError):
    """The queue has reached a limit; nothing of the call (of the chunk, for ``put_many``) was accepted.

    Attributes:
        unit: ``items`` or ``bytes``.
        limit: the limit that would be crossed.
        current: what the queue holds now, in the same unit.
    """

    def __init__(self, unit: str, limit: int, current: int) -> None:
        super().__init__(
            f"the queue is full: {current:,} of {limit:,} {unit}. Start more workers, look at `penstock queue stats` "
            "for what holds them up, or raise the queue's limit"
        )
        self.unit = unit
        self.limit = limit
        self.current = current


class QueueUnavailable(PenstockError):
    """Redis did not answer in time, or refused.

    Attributes:
        maybe_accepted: True when a request was sent whose answer never came: the write may be in the queue. Putting it
            again is safe, because the last accepted write of a key wins.
    """

    def __init__(self, message: str, *, maybe_accepted: bool) -> None:
        super().__init__(message)
        self.maybe_accepted = maybe_accepted


class WaitTimeout(PenstockError, TimeoutError):
    """The time is up, and the write that was waited for is still in the queue, where it stays.

    Attributes:
        state: where it was last: ``ready``, ``delayed``, ``inflight``, or ``parked`` (failed for good, while the
            dead-letter queue is full).
    """

    def __init__(self, name: str, state: str, timeout: float) -> None:
        super().__init__(
            f"{name} is still in the queue after {timeout:g} s ({state}): wait longer, or look with `penstock queue "
            "stats` whether workers keep up"
        )
        self.state = state


class QueueMismatch(PenstockError):
    """The queue in Redis has another layout than this version understands; nothing was touched."""


class NotDurable(PenstockError):
    """Accepted, but not known to be as durable as asked for within the time limit.

    The writes are in the queue and are uploaded; only if Redis fails now they may be lost. ``receipts`` holds what was
    accepted, by this call and, for ``put_many``, before it. Putting them again is safe.
    """
