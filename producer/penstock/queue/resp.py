"""Redis's request format, for the one hot path where redis-py's own packing shows.

Preparing a call through redis-py's client costs a third of the call; joining the parts here and sending them with
``Connection.send_packed_command`` costs two per cent, and keeps redis-py's connections (TLS, Sentinel, reconnects).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import BusyLoadingError, ResponseError


class LoadingInPartError(BusyLoadingError):
    """Redis was loading its data when it came to one command of several. Whether the script ran is not known: redis-py
    takes this answer for the connection's end, and what comes behind it cannot be read."""


class Replies(NamedTuple):
    """What came back for commands that went out together: the last one's answer counts.

    Attributes:
        refused: the first error of those before it, which did not keep it from running.
        verdict: the reply to one behind it that waits; an error, too.
    """

    answer: object
    refused: ResponseError | None
    verdict: object


def sort_out(found: Sequence[object], count: int) -> Replies:
    """The replies to ``count`` commands, and maybe to one that waits.

    Raises:
        ResponseError: the last one's error, for that says whether it ran. Its cause is the first one's.
    """
    errors = [reply for reply in found[:count] if isinstance(reply, ResponseError)]
    answer = found[count - 1] if count else None
    if isinstance(answer, ResponseError):
        raise answer from errors[0] if errors[0] is not answer else None
    return Replies(answer, errors[0] if errors else None, found[-1])


def pack_bulk(word: bytes) -> bytes:
    """One word of a command as a bulk string."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


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
