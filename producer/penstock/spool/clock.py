"""When a spooled write was accepted, in terms that can be compared with Redis's clock later."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

DRIFT = 1 / 5000
"""Seconds a second that a host's clock may run wrong: 200 ppm, more than a crystal's fault."""
REBOOT_ERROR = 30_000_000
"""µs. After a reboot only the calendar clock tells; no worker sends while its own is further from Redis's than that."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> int:
    """ns since the host started, sleep included: the same for all processes of a host, and set by nobody."""
    return time.clock_gettime_ns(_CLOCK)


def boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # not Linux: then what is from before a reboot is told by the calendar clock's error alone
        return ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time on this host, by both of its clocks, µs."""

    boot: str
    uptime: int
    wall: int

    @classmethod
    def now(cls) -> Moment:
        return cls.of(uptime())

    @classmethod
    def of(cls, at: int) -> Moment:
        """That of an earlier `uptime`. What the calendar clock showed then is told from what it shows now."""
        ago = uptime() - at
        return cls(_BOOT, at // 1000, (time.time_ns() - ago) // 1000)


@dataclass(frozen=True, slots=True)
class RedisTime:
    """Redis's clock, µs, at a moment here or, by at most the time that its answer took, before it."""

    redis: int
    here: Moment
    took: int = 0

    def earliest(self, moment: Moment) -> int:
        """The least that Redis's clock may have shown at an earlier moment."""
        ago, error = self._ago(moment)
        return max(0, self.redis - ago - error)

    def latest(self, moment: Moment) -> int:
        """The most that it may have shown then."""
        ago, error = self._ago(moment)
        return self.redis + self.took - ago + error

    def _ago(self, moment: Moment) -> tuple[int, int]:
        if moment.boot == self.here.boot and 0 < moment.uptime <= self.here.uptime:
            ago, error = self.here.uptime - moment.uptime, 0
        else:
            ago, error = max(0, self.here.wall - moment.wall), REBOOT_ERROR
        return ago, error + int(ago * DRIFT)


_BOOT = boot_id()
