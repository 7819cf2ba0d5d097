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
from penstock.queue.enqueue import Prepared
from penstock.queue.names import split_name
from penstock.queue.record import FLAG_DELETE, decode
from penstock.spool.clock import Moment
from penstock.spool.files import APPLICATION_ID
from penstock.spool.rows import unpack_groups

_RECORD = bytes((1,)) + bytes(15)
"""What the enqueue script puts before a write's own head: version, number, age."""


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


@dataclass(frozen=True, slots=True)
class SpooledWrite:
    """``accepted_at``: seconds since the epoch, by the host's clock."""

    bucket: str
    key: str
    accepted_at: float
    priority: int
    is_delete: bool
    tenant: str
    body: bytes


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
    """All of them, in order. Raises InvalidSetting as `spool_stats`."""
    path = Path(directory) / f"{queue}.spool"
    if not _is_there(path):
        return
    with _read(path) as connection:
        for wall, body in connection.execute("SELECT wall, body FROM calls ORDER BY id"):
            for group in unpack_groups(body):
                for write in group:
                    yield _decoded(write, wall / 1e6)


def _decoded(write: Prepared, accepted_at: float) -> SpooledWrite:
    record = decode(_RECORD + write.head + write.tail)
    bucket, key = split_name(write.name)
    body = write.blob if write.blob_id is not None else bytes(record.body or b"")
    is_delete = bool(write.head[1] & FLAG_DELETE)
    return SpooledWrite(bucket, key, accepted_at, record.priority, is_delete, record.tenant, body)


@contextmanager
def _read(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads: it waits for nobody and holds nobody up."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
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
