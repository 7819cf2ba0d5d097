"""A signal is seen wherever the main thread stands when it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIMIT = 60.0
"""Seconds, against hangs only."""

LISTEN = """
import os, signal, threading, time
from penstock_worker.stop_signals import StopSignals

signals = StopSignals()
signals.listen()
"""
TO_ANOTHER_THREAD = """
def be_signalled():
    waits.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(3600)

waits = threading.Event()
threading.Thread(target=be_signalled, daemon=True).start()
waits.set()
"""
TWICE_BEFORE_THE_WAIT = """
os.kill(os.getpid(), signal.SIGINT)
os.kill(os.getpid(), signal.SIGTERM)
assert signals.asked(0)
"""
ASKED = """
signals.ask()
"""
NOBODY = """
assert not signals.asked(0)
assert not signals.asked(0.01)
signals.ask()
"""


@pytest.mark.parametrize("how", [TO_ANOTHER_THREAD, TWICE_BEFORE_THE_WAIT, ASKED, NOBODY])
def test_each_signal_is_seen_once(how: str) -> None:
    told = "print(signals.asked(None), signals.asked(0), flush=True)\nos._exit(0)"
    done = subprocess.run([sys.executable, "-c", LISTEN + how + told], capture_output=True, text=True, timeout=LIMIT)
    assert (done.stdout, done.stderr) == ("True False\n", "")
