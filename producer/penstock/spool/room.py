"""Room on the disk that replaying needs: taking writes out of the spool writes first."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

RESERVE = 1024 * 1024
"""Bytes. Some jobs' worth of SQLite's log, which is emptied as it goes: after `files.LOG_PAGES`."""


class Reserve:
    """A file that holds the room until the disk is full. Its errors are only that it holds none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
            try:
                os.posix_fallocate(handle, 0, RESERVE)
            finally:
                os.close(handle)
        except OSError:
            return

    def release(self) -> None:
        """For the one who replays, on a full disk."""
        self._path.unlink(missing_ok=True)


def is_full(error: Exception) -> bool:
    """The second is SQLite's word where the page of memory that its log's readers share finds no room."""
    code = getattr(error, "sqlite_errorcode", None)
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


def check_room(directory: Path, size: int) -> None:
    """For one who appends: what is free when the reserve is released is not for more writes. A row goes into SQLite's
    log first and from there into the file, which must both have room, or the log is never emptied.

    Raises:
        OSError: the disk is full.
    """
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < 2 * size + RESERVE:
        raise OSError("the disk is full, but for what replaying needs")
