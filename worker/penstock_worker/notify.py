"""systemd's notification protocol (sd_notify(3)): one datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import os
import socket

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


def watchdog_interval() -> float | None:
    """Seconds between two signs of life that systemd expects: half of WATCHDOG_USEC, as its manual advises."""
    usec = os.environ.get("WATCHDOG_USEC")
    if not usec or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2e6
