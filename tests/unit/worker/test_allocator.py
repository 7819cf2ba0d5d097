"""A worker's many threads share a few heaps."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from penstock_worker import allocator

if sys.argv[1] == "shared":
    allocator.share_heaps()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(16)

def allocate():
    libc.malloc(100_000)
    together.wait()  # all live at once, so that none takes over the heap of another

threads = [threading.Thread(target=allocate) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def heaps(how: str) -> int:
    command = [sys.executable, "-c", PROGRAM, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.count("<heap nr=")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="only glibc tells")
def test_many_threads_share_two_heaps() -> None:
    assert heaps("shared") <= 2
    assert heaps("as it is") > 2, "else this says nothing"
