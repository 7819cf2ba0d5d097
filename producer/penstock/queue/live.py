"""Live settings: what the queue's meta asks of every worker while it runs. Workers read them with each beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from penstock.errors import InvalidSetting
from penstock.queue.sharded import AnyQueue, number_of

LOG_LEVELS = ("debug", "info", "warning", "error")

_LOG_LEVEL = "log_level"


@dataclass(frozen=True, slots=True)
class Live:
    """``log_level`` None leaves a worker its own setting; so does a level that it does not know.

    ``shards``: how many the queue has; while the number is being changed, how many it had until then.
    """

    log_level: str | None
    shards: int = 1

    @classmethod
    def parse(cls, log_level: bytes | None, shards: bytes | None = None, shards_was: bytes | None = None) -> Live:
        level = None if log_level is None else log_level.decode()
        return cls(level if level in LOG_LEVELS else None, number_of(shards, shards_was))


def read(queue: AnyQueue) -> Live:
    """One round trip."""
    first = queue.shards[0]
    found = first.client.hmget(first.prefix + "meta", [_LOG_LEVEL, "shards", "shards_was"])
    return Live.parse(*cast("list[bytes | None]", found))


def set_log_level(queue: AnyQueue, level: str | None) -> None:
    """Every worker takes it over within some seconds; None gives each its own back. One round trip.

    Raises:
        InvalidSetting: there is no such level.
    """
    first = queue.shards[0]
    if level is None:
        first.client.hdel(first.prefix + "meta", _LOG_LEVEL)
    elif level in LOG_LEVELS:
        first.set_meta({_LOG_LEVEL: level})
    else:
        raise InvalidSetting(f"{level!r} is no log level: {', '.join(LOG_LEVELS)} are")
