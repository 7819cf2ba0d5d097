"""Writes go into the spool."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading

from penstock.errors import QueueFull, QueueUnavailable
from penstock.queue.commit import Group
from penstock.spool.files import SpoolBusyError, SpoolFiles
from penstock.spool.room import check_room
from penstock.spool.rows import ROW_BYTES, Origin, pack_groups

log = logging.getLogger("penstock.spool")


class SpoolFailedError(QueueUnavailable):
    """Redis is away, and the spool did not take the write either."""


class Spool:
    """One process's way to the spool of a queue. Safe to share between threads, not between processes.

    Args:
        most: bytes that may lie in it.
        timeout: seconds a call waits at most for other processes.

    Raises:
        InvalidSetting: the directory cannot be used.
    """

    def __init__(self, directory: str, queue: str, most: int, timeout: float) -> None:
        self.directory = directory
        self._files = SpoolFiles(directory, queue)
        self._most = most
        self._timeout = timeout
        self.flag = self._files.flag
        self._files.reserve.fill()
        self.grown = threading.Event()
        """Set when something was appended, for whoever replays."""
        try:
            with self._files.locked(timeout):  # says whether something is left from before
                pass
        except (SpoolBusyError, sqlite3.Error, OSError) as error:
            log.warning("the spool %s cannot be opened now: %s", self._files.path, error)

    def close(self) -> None:
        """Later writes are refused with QueueUnavailable. What lies in it stays."""
        self._files.close()

    @property
    def pending(self) -> bool:
        """Whether writes lie in it, of whichever process; later ones go behind them."""
        return self.flag.pending

    def append(self, groups: list[Group], origin: Origin, cause: QueueUnavailable | None) -> None:
        """Returns when the writes are on the disk.

        Args:
            cause: why they are not in Redis; None when they only go behind others.

        Raises:
            QueueFull: the spool has reached its limit.
            QueueUnavailable: it cannot be written.
        """
        body = pack_groups(groups)
        size = len(body) + ROW_BYTES
        writes = sum(len(group) for group in groups)
        try:
            check_room(self._files.directory, size)
            with self._files.locked(self._timeout) as connection:
                self._insert(connection, origin, body, size, writes)
        except (SpoolBusyError, sqlite3.Error, OSError) as error:
            raise self._failed(error, cause) from error
        except QueueFull as error:
            if cause is not None and cause.maybe_accepted:
                raise self._failed(error, cause) from None
            raise
        self.grown.set()

    def _insert(self, connection: sqlite3.Connection, origin: Origin, body: bytes, size: int, writes: int) -> None:
        held = int(connection.execute("SELECT bytes FROM totals").fetchone()[0])
        if held + size > self._most:
            raise spool_full(self._files.path, self._most, held)
        # Before it is there: others are to go behind it from the moment it is.
        self.flag.pending = True
        at = origin.at
        connection.execute(
            "INSERT INTO calls (shard, shards, boot, uptime, wall, floor, durability, producer, number, writes, bytes,"
            " body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                origin.shard, origin.shards, at.boot, at.uptime, at.wall, origin.floor, origin.durability,
                origin.producer, origin.number, writes, size, body,
            ),
        )  # fmt: skip
        connection.execute("UPDATE totals SET writes = writes + ?, bytes = bytes + ?", (writes, size))

    def _failed(self, error: Exception, cause: QueueUnavailable | None) -> SpoolFailedError:
        why = f"{cause}. And the" if cause is not None else "writes wait in the spool for Redis, and the"
        return SpoolFailedError(
            f"{why} spool {self._files.path} cannot be written: {error}. Look at the disk and its space",
            maybe_accepted=cause is not None and cause.maybe_accepted,
        )


def spool_full(path: os.PathLike[str], limit: int, current: int) -> QueueFull:
    error = QueueFull("bytes", limit, current)
    error.args = (
        f"the spool {path} is full: {current:,} of {limit:,} bytes. Look why Redis is away, or raise "
        "PENSTOCK_SPOOL_MAX_BYTES",
    )
    return error
