"""Live settings: what the queue's meta asks of every worker while it runs. Workers read them with each beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from penstock.errors import InvalidSetting
from penstock.queue.client import Queue
from penstock.queue.names import LAYOUT_VERSION

LOG_LEVELS = ("debug", "info", "warning", "error")

_LOG_LEVEL = "log_level"


@dataclass(frozen=True, slots=True)
class Live:
    """None leaves a worker its own setting; so does a level that it does not know."""

    log_level: str | None

    @classmethod
    def parse(cls, log_level: bytes | None) -> Live:
        level = None if log_level is None else log_level.decode()
        return cls(level if level in LOG_LEVELS else None)


def read(queue: Queue) -> Live:
    """One round trip."""
    return Live.parse(cast("bytes | None", queue.client.hget(queue.prefix + "meta", _LOG_LEVEL)))


def set_log_level(queue: Queue, level: str | None) -> None:
    """Every worker takes it over within some seconds; None gives each its own back. One round trip.

    Raises:
        InvalidSetting: there is no such level.
    """
    if level is None:
        queue.client.hdel(queue.prefix + "meta", _LOG_LEVEL)
    elif level in LOG_LEVELS:
        queue.client.hset(queue.prefix + "meta", mapping={"layout": LAYOUT_VERSION, "shards": 1, _LOG_LEVEL: level})
    else:
        raise InvalidSetting(f"{level!r} is no log level: {', '.join(LOG_LEVELS)} are")
