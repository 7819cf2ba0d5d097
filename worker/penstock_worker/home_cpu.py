"""One CPU for the threads that take turns at the interpreter, while they keep it busy.

Only one thread of a process runs Python at a time. When they wander, each hand-over wakes another CPU, which finds its
caches cold: beside a store that answers at once that is a third of what a write costs (docs/performance.md). So a busy
worker's threads share one CPU. The upload engine's own threads, which need no interpreter, go where they like; so does
a thread that compresses and sends large bodies, and so do all while there is little to do.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import structlog

log = structlog.get_logger()

LOOK_SECONDS = 0.25
BUSY, IDLE = 0.5, 0.25
"""CPUs that the process uses: above the one its threads get a home, below the other they lose it."""
CROWDED = 0.25
"""The share of the home that others may take before its threads move, ..."""
BETTER = 0.15
"""... if they would have so much more of another CPU."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Look(NamedTuple):
    """Seconds: of a clock, and of CPU time by this process and, only while it is busy, by everyone on each CPU."""

    at: float
    own: float
    busy: dict[int, float]


def look(last: Look | None) -> Look:
    """Raises OSError where there is no /proc/stat."""
    at, own = time.monotonic(), time.process_time()
    if last is None or own - last.own < IDLE * (at - last.at):
        return Look(at, own, {})
    busy = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _idle, _waiting, *interrupts_and_stolen = map(int, values[:8])
            busy[int(name[3:])] = (user + nice + system + sum(interrupts_and_stolen)) / _TICKS
    return Look(at, own, busy)


class HomeCpu(threading.Thread):
    """Gives this process's threads their home, takes it, and moves it when others crowd there.

    Does nothing where a process may not choose its CPUs, or has only one. ``look`` replaces the clocks, for tests.
    """

    def __init__(self, look: Callable[[Look | None], Look] = look) -> None:
        super().__init__(name="penstock-home-cpu", daemon=True)
        self._look = look
        self._allowed: set[int] = set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()
        self._home: int | None = None
        self._placed: dict[int, set[int]] = {}  # by thread
        self._roaming: dict[int, float] = {}  # threads that need no home: the look before which they last said so
        self._looks = 0
        self._lock = threading.Lock()
        self._last: Look | None = None
        self._ended = threading.Event()

    @property
    def cpu(self) -> int | None:
        """The home; None while the threads may run everywhere."""
        return self._home

    def run(self) -> None:
        if len(self._allowed) < 2:
            return
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self.step()
            except (OSError, ValueError) as error:  # no /proc/stat, a filter of system calls, a CPU that was taken away
                log.info(
                    "no_home_cpu",
                    error=str(error),
                    remedy="small bodies are uploaded more slowly; let the process read /proc/stat and choose its CPU",
                )
                break
        with self._lock, suppress(OSError):
            self._home = None
            for name in os.listdir("/proc/self/task"):
                with suppress(OSError):
                    os.sched_setaffinity(int(name), self._allowed)

    def step(self) -> None:
        """Looks, and places the threads. Raises OSError and ValueError where that cannot be done."""
        last, self._last = self._last, self._look(self._last)
        self._looks += 1
        if last is None:
            return
        with self._lock:
            was_at_home, self._home = self._home is not None, self._choose(last, self._last)
            if was_at_home or self._home is not None:
                self._place()

    def _choose(self, last: Look, now: Look) -> int | None:
        elapsed = now.at - last.at
        own = (now.own - last.own) / elapsed
        known = self._allowed & last.busy.keys() & now.busy.keys()
        shares = {cpu: (now.busy[cpu] - last.busy[cpu]) / elapsed for cpu in known}
        if own < IDLE or not shares:
            return None
        if self._home is None:
            return min(shares, key=shares.__getitem__) if own > BUSY else None
        best = min(shares, key=shares.__getitem__)
        if self._home not in shares:  # it was switched off
            return best
        others = shares[self._home] - min(own, 1.0)
        # Not each time: two workers that share a home would move together for ever.
        if others > CROWDED and shares[best] < others - BETTER and random.random() < 0.5:
            return best
        return self._home

    def _place(self) -> None:
        pythons = {thread.native_id for thread in threading.enumerate()}
        home = set() if self._home is None else {self._home}
        placed = {}
        for name in os.listdir("/proc/self/task"):
            thread = int(name)
            # Those of the engine too: a thread begins where the one that made it was.
            stays = self._home is not None and thread in pythons and not self._roams(thread)
            placed[thread] = home if stays else self._allowed
            if self._placed.get(thread) != placed[thread]:
                _move(thread, placed[thread])
        self._placed = {} if self._home is None else placed
        for thread in list(self._roaming):  # threads add themselves meanwhile
            if thread not in self._placed:
                del self._roaming[thread]

    def _roams(self, thread: int) -> bool:
        said = self._roaming.get(thread)
        if said is not None and said < self._looks - 1:
            del self._roaming[thread]
            return False
        return said is not None

    @contextmanager
    def roam(self) -> Iterator[None]:
        """While it lasts the calling thread may run on any CPU: it has work that needs no interpreter.

        It is not sent home at the end, but by a later look, when it has had no more of such work: a move takes as long
        as the other CPU is busy, and nobody has the interpreter meanwhile.
        """
        if self._home is None:
            yield
            return
        thread = threading.get_native_id()
        is_new = thread not in self._roaming
        self._roaming[thread] = math.inf
        if is_new:
            # Where a thread runs must not decide what becomes of the write that it carries.
            with suppress(OSError):
                os.sched_setaffinity(thread, self._allowed)
        try:
            yield
        finally:
            self._roaming[thread] = self._looks

    def stop(self) -> None:
        self._ended.set()


def _move(thread: int, cpus: set[int]) -> None:
    try:
        os.sched_setaffinity(thread, cpus)
    except ProcessLookupError:
        return  # it has ended meanwhile
