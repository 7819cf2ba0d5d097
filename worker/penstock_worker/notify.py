"""systemd's notification protocol (sd_notify(3)): one datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import structlog

log = structlog.get_logger()


def notify(state: str) -> bool:
    """Tells systemd ``state``, such as ``READY=1``; False where there is no systemd, or it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(address)
            sock.sendall(state.encode())
        except OSError as error:
            # A socket that was not mounted into a container, say: no reason to stop uploading.
            log.warning("systemd_not_notified", state=state, error=str(error))
            return False
    return True


def tell_life(unwell: Sequence[str], status: Sequence[str]) -> bool:
    """A sign of life with a line for ``systemctl status``; no sign, but the reasons, while there are any."""
    if unwell:
        return notify(f"STATUS={_line(unwell)}")
    return notify(f"WATCHDOG=1\nSTATUS={_line(status)}")


def tell_stop(status: str, within: float) -> bool:
    """That the process stops, and for how many seconds at most, which can be more than the unit's own limit."""
    return notify(f"STOPPING=1\nSTATUS={_line([status])}\nEXTEND_TIMEOUT_USEC={int(within * 1e6)}")


def _line(parts: Sequence[str]) -> str:
    """One line: what follows a line break would be a message of its own."""
    return " ".join("; ".join(parts).split())


def watchdog_interval() -> float | None:
    """Seconds between two signs of life that systemd expects: half of WATCHDOG_USEC, as its manual advises."""
    usec = os.environ.get("WATCHDOG_USEC")
    if not usec or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2e6
