"""Memory of large bodies goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
from penstock_worker import allocator

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd u1 u2 used free keep".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
allocator.give_back_large_blocks()
body = bytes(2**20)
del body  # from here on glibc would keep blocks of this size
before = libc.mallinfo2().hblkhd
bodies = [bytes(2**20) for _ in range(20)]
held = libc.mallinfo2().hblkhd
del bodies
print(held - before >= 20 * 2**20, libc.mallinfo2().hblkhd == before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc (2.33 or newer) tells")
def test_large_blocks_are_the_systems_and_go_back_to_it() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "True"]
