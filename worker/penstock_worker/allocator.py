"""The C library's memory: what large bodies took goes back to the system when they are gone.

By itself glibc learns from the first large block that is freed to keep such blocks for later, for each thread its own:
a worker that uploads bodies of 1 MiB then holds about twice what its bodies take.
"""

from __future__ import annotations

import ctypes

LARGE_BLOCK = 256 * 1024
"""Bytes from which a block is the system's own. Its pages cost little beside compressing what is in it."""

_M_MMAP_THRESHOLD = -3  # <malloc.h>; setting it ends the learning


def give_back_large_blocks() -> None:
    """For this process, from now on. Does nothing where there is no glibc: other C libraries do so anyway."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
