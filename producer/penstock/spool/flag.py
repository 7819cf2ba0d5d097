"""What all processes of a host must know at once and for nothing: whether the spool holds something.

A page of memory that they share (a mapped file): reading it takes a tenth of a microsecond and no system call. It is
derived from the spool's file, made anew whenever a process opens that, and only ever changed under the spool's lock.

The floors beside it are raised without a lock, for which a put has no time: a process that is stopped between its look
and its store can lower one. So each also keeps its own in memory, and puts the word right at its next call.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from penstock.queue.names import MAX_SHARDS
from penstock.spool.clock import uptime

Mark = tuple[int, int]
"""The host's `uptime`, and the highest number that a process of this host had been given by the shard."""

_SIZE = 8192
_MAGIC = 0x50656E73746F636B
_PENDING = 1
_FLOORS = 8


class Flag:
    """Safe to share between threads and processes.

    Raises:
        OSError: the file cannot be made; also when the disk is full, since a page without its block on the disk would
            kill the process that writes it.
    """

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            os.posix_fallocate(handle, 0, _SIZE)
            self._map = mmap.mmap(handle, _SIZE)
        finally:
            os.close(handle)
        self._words = memoryview(self._map).cast("Q")
        self._own = [0] * len(self._words)
        if self._words[0] != _MAGIC:
            for at in range(_PENDING, len(self._words)):
                self._words[at] = 0
            self._words[0] = _MAGIC

    @property
    def pending(self) -> bool:
        return self._words[_PENDING] != 0

    @pending.setter
    def pending(self, value: bool) -> None:
        self._words[_PENDING] = int(value)

    def watch(self, shard: int, shards: int) -> Watch:
        return Watch(self._words, self._own, _place(shard, shards))


class Watch:
    """What is asked and told at each call to one shard, in some tenths of a microsecond. As safe to share."""

    __slots__ = ("_at", "_own", "_words")

    def __init__(self, words: memoryview[int], own: list[int], at: int) -> None:
        self._words, self._own, self._at = words, own, at

    def mark(self) -> Mark:
        """When and after what something is accepted that is accepted from now on."""
        at = uptime()
        floor, own = self._words[self._at], self._own[self._at]
        if floor < own:
            self._words[self._at] = floor = own
        return at, floor

    def given(self, seq: int) -> None:
        """The host remembers the highest number, so that a write it spools later is not taken for an older one."""
        if seq > self._own[self._at]:
            self._own[self._at] = seq
        if seq > self._words[self._at]:
            self._words[self._at] = seq


def _place(shard: int, shards: int) -> int:
    if not 1 <= shards <= MAX_SHARDS:
        return _FLOORS
    return _FLOORS + 1 + shards * (shards - 1) // 2 + shard
