"""What lies in a spool, read beside those that use it: for people and for monitoring."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from penstock.errors import InvalidSetting
from penstock.spool.clock import Moment
from penstock.spool.files import APPLICATION_ID, as_text
from penstock.spool.rows import SELECT, DamagedRowError, SpooledWrite, read_row, unpack_write


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """``oldest_age`` in seconds; None when it is empty. ``aside``: files that could not be read and were set aside."""

    path: str
    writes: int
    bytes: int
    oldest_age: float | None
    replayed: int
    superseded: int
    aside: list[str]


def spool_stats(directory: str, queue: str) -> SpoolStats:
    """Raises InvalidSetting: the file cannot be read, or is not a spool."""
    path = Path(directory) / f"{queue}.spool"
    is_there = _is_there(path)
    found = sorted(str(one) for one in Path(directory).glob(f"{queue}.spool.aside-*"))
    aside = [name for name in found if not name.endswith(("-wal", "-shm"))]
    if not is_there:
        return SpoolStats(str(path), 0, 0, None, 0, 0, aside)
    with _read(path) as connection:
        writes, size, replayed, superseded = connection.execute(
            "SELECT writes, bytes, replayed, superseded FROM totals"
        ).fetchone()
        oldest = connection.execute("SELECT boot, uptime, wall FROM calls ORDER BY id LIMIT 1").fetchone()
    return SpoolStats(str(path), writes, size, _age(oldest), replayed, superseded, aside)


def spooled_writes(directory: str, queue: str) -> Iterator[SpooledWrite]:
    """All of them, in order. Raises InvalidSetting as `spool_stats`; and, after all others, when rows are damaged."""
    path = Path(directory) / f"{queue}.spool"
    if not _is_there(path):
        return
    damaged: DamagedRowError | None = None
    with _read(path) as connection:
        for found in connection.execute(SELECT + " ORDER BY id"):
            try:
                row = read_row(found)
            except DamagedRowError as error:
                damaged = damaged or error
                continue
            for write in row.writes:
                yield unpack_write(write, row.origin.at.wall / 1e6)
    if damaged is not None:
        raise _unreadable(path, damaged)


@contextmanager
def _read(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads: it waits for nobody and holds nobody up."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
        connection.text_factory = as_text
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise sqlite3.DatabaseError("it is not Penstock's")
        yield connection
    except sqlite3.Error as error:
        raise _unreadable(path, error) from None
    finally:
        if connection is not None:
            connection.close()


def _is_there(path: Path) -> bool:
    """Not `Path.exists`, which in newer Pythons takes a directory that may not be entered for an empty one."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from None
    return True


def _unreadable(path: Path, error: Exception) -> InvalidSetting:
    return InvalidSetting(f"spool (PENSTOCK_SPOOL): {path} cannot be read ({error}): see docs/spool.md")


def _age(oldest: tuple[str, int, int] | None) -> float | None:
    if oldest is None:
        return None
    at, now = Moment(*oldest), Moment.now()
    if at.boot == now.boot and at.uptime <= now.uptime:
        return (now.uptime - at.uptime) / 1e6
    return max(0.0, time.time() - at.wall / 1e6)
