"""Redis's request format, for the one hot path where redis-py's own packing shows.

Preparing a call through redis-py's client costs a third of the call; joining the parts here and sending them with
``Connection.send_packed_command`` costs two per cent, and keeps redis-py's connections (TLS, Sentinel, reconnects).
"""

from __future__ import annotations

from collections.abc import Sequence


def append_command(out: list[bytes], parts: Sequence[bytes]) -> None:
    """One command as an array of bulk strings (RESP2, "Sending commands to a Redis server"), to be joined at last."""
    out.append(b"*%d\r\n" % len(parts))
    for part in parts:
        out += (b"$%d\r\n" % len(part), part, b"\r\n")


def pack_command(parts: Sequence[bytes]) -> bytes:
    """One command's bytes."""
    out: list[bytes] = []
    append_command(out, parts)
    return b"".join(out)
