"""The C library's memory: what large bodies took is used again by all threads, and goes back to the system.

By itself glibc gives each of many threads a heap of its own, and each keeps what its largest bodies took: with bodies
of 1 MiB a worker then holds twice what they take. To map each body anew would cost more than to send it.
"""

from __future__ import annotations

import ctypes

HEAPS = 2
LARGE_BLOCK = 16 * 1024**2
"""Bytes from which a block is the system's own."""
KEPT = 64 * 1024**2
"""Free bytes that a heap keeps for what comes next."""

# <malloc.h>. Setting a threshold also ends glibc's learning of it.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def share_heaps() -> None:
    """For this process, from now on. Does nothing where there is no glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_ARENA_MAX, HEAPS)
    mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, KEPT)
