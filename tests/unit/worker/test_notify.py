"""What systemd is told: one datagram a message, and no sign of life while a duty stands still."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock_worker import notify

LIMIT = 60.0
"""Seconds, against hangs only."""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(LIMIT)
        monkeypatch.setenv("NOTIFY_SOCKET", listener.getsockname())
        yield listener


def test_a_sign_of_life_brings_a_line_for_people(systemd: socket.socket) -> None:
    notify.tell_life([], ["3 batches in flight"])
    assert systemd.recv(1000) == b"WATCHDOG=1\nSTATUS=3 batches in flight"


def test_a_duty_that_stands_still_is_no_sign_of_life_and_cannot_fake_one(systemd: socket.socket) -> None:
    notify.tell_life(["sweeper has been silent for 60 s", "a\nWATCHDOG=1"], ["3 batches in flight"])
    assert systemd.recv(1000) == b"STATUS=sweeper has been silent for 60 s; a WATCHDOG=1"


def test_a_stop_names_the_time_that_it_may_take(systemd: socket.socket) -> None:
    notify.tell_stop("stopping", 65.5)
    assert systemd.recv(1000) == b"STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=65500000"


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.tell_life([], ["idle"])
