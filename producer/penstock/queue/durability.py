"""How safe a write must be before its call returns: in Redis's memory, on its disk, or on replicas too. No I/O here.

WAIT and WAITAOF speak of what was written on their own connection, so they go out right behind a call, on the same one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import redis

from penstock.errors import InvalidSetting
from penstock.queue.resp import pack_command

_REPLICAS = re.compile(r"replicas:([1-9][0-9]?)")

SHARE = 0.9
LATE = 0.12
"""The share of the time that is left, and seconds less, so that the answer is here before the socket's time limit ends:
Redis ends a wait when its next timer strikes, ten times a second."""

LEAST_WAIT = 0.2
"""Seconds; with less left nobody is asked again."""

_UNBLOCKED = "UNBLOCKED"
ON_REPLICA = "cannot be used with replica instances"
"""In a replica's answer to WAIT and WAITAOF, instead of READONLY."""


class NoSyncError(redis.ResponseError):
    """This server cannot tell when a write is on its disk."""


@dataclass(frozen=True, slots=True)
class Durability:
    """What a producer asks for."""

    name: str = "memory"
    fsync: bool = False
    replicas: int = 0

    @classmethod
    def parse(cls, value: object) -> Durability:
        """Raises InvalidSetting."""
        if value == "memory":
            return cls()
        if value == "fsync":
            return cls("fsync", fsync=True)
        found = _REPLICAS.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise InvalidSetting(
                f"durability (PENSTOCK_DURABILITY)={value!r}: memory, fsync, or replicas:N with N from 1 to 99"
            )
        return cls(found[0], replicas=int(found[1]))

    @property
    def waits(self) -> bool:
        return self.fsync or self.replicas > 0

    def command(self, seconds: float) -> bytes:
        """Waits until what was written on this connection is safe; answers within so many seconds in any case."""
        millis = b"%d" % max(1, int((seconds * SHARE - LATE) * 1000))
        if self.fsync:
            return pack_command((b"WAITAOF", b"1", b"0", millis))
        return pack_command((b"WAIT", b"%d" % self.replicas, millis))

    def left(self, answer: object, deadline: float) -> float:
        """Seconds for which it is worth to ask again (until ``deadline``, time.monotonic); 0 when it is not."""
        left = deadline - time.monotonic()
        # Who refuses to wait does so at once, each time.
        return left if left > LEAST_WAIT and not isinstance(answer, redis.ResponseError) else 0.0

    def missing(self, answer: object) -> str | None:
        """What the answer lacks; None when all is safe."""
        if isinstance(answer, redis.ResponseError):
            return f"Redis answered {answer}"
        if self.fsync:
            synced = isinstance(answer, list) and answer and answer[0] >= 1
            return None if synced else "Redis had not synced it to its disk in time"
        reached = answer if isinstance(answer, int) else 0
        return None if reached >= self.replicas else f"{reached} of {self.replicas} replicas had it in time"


MEMORY = Durability()


def lost_master(verdict: object) -> redis.ConnectionError | None:
    """The error for a verdict of a server that is a replica by now.

    What it accepted as the master it may throw away, so its answer is as good as lost: only the new master's counts.
    """
    text = str(verdict) if isinstance(verdict, redis.ResponseError) else ""
    if text.startswith(_UNBLOCKED) or ON_REPLICA in text:
        return redis.ConnectionError(f"it became a replica before the write was safe ({text.rstrip('.')})")
    return None


PROBE = ("WAITAOF", 1, 0, 1)
"""Answered at once on a new connection, which has written nothing; with an error by a server that cannot sync."""


def no_sync(error: redis.ResponseError) -> redis.ResponseError:
    """The error to raise for that of the probe."""
    text = str(error)
    if "unknown command" in text.lower():
        return NoSyncError("it has no WAITAOF: Redis 7.2 or Valkey is needed")
    if "appendonly" in text:
        return NoSyncError("its appendonly is off: set appendonly yes")
    # Where nobody was asked for the master, on a Unix socket, a replica's answer is not yet what it stands for.
    return redis.ReadOnlyError(text) if ON_REPLICA in text else error
