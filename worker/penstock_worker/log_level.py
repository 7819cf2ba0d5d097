"""The log level that the queue asks for, taken over while the worker runs."""

from __future__ import annotations

import structlog

from penstock.queue.live import Live
from penstock_worker import logs

log = structlog.get_logger()


class LogLevel:
    """Follows the live setting, and goes back to the worker's ``own`` level without one. For one thread."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._now = own

    def follow(self, live: Live) -> None:
        wanted = live.log_level or self._own
        if wanted == self._now:
            return
        logs.set_level("info")  # so that it is said whichever the two levels are
        log.info("log_level_changed", log_level=wanted, asked_by="setting" if live.log_level is None else "queue")
        logs.set_level(wanted)
        self._now = wanted
