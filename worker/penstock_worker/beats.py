"""Signs of life: each duty beats, and the sidecar and the watchdog see who has stopped."""

from __future__ import annotations

import threading
import time


def of_shard(name: str, shard: int) -> str:
    """Tells what each shard has one of apart: ``sweeper``, ``sweeper.1``, ``sweeper.2``."""
    return name if shard == 0 else f"{name}.{shard}"


class Beats:
    """When each duty last beat, and how long it may be silent, in seconds. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._limits: dict[str, float] = {}

    def expect(self, duty: str, within: float) -> None:
        with self._lock:
            self._limits[duty] = within
            self._last[duty] = time.monotonic()

    def beat(self, duty: str) -> None:
        self._last[duty] = time.monotonic()

    def age(self, duty: str) -> float | None:
        """Seconds since the duty's last beat; None when it never beat."""
        last = self._last.get(duty)
        return None if last is None else time.monotonic() - last

    def overdue(self) -> dict[str, float]:
        """Silent duties and for how many seconds."""
        now = time.monotonic()
        with self._lock:
            silent = {duty: now - self._last[duty] for duty in self._limits}
            return {duty: age for duty, age in silent.items() if age > self._limits[duty]}

    def unwell(self) -> list[str]:
        """The same as sentences for people; empty when every duty has beaten lately."""
        return [f"{duty} has been silent for {age:.0f} s" for duty, age in self.overdue().items()]
