"""The spool's files: opened, checked, locked; and set aside, never deleted, when they are damaged or not ours."""

from __future__ import annotations

import fcntl
import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from penstock.errors import InvalidSetting
from penstock.spool.flag import Flag
from penstock.spool.room import Reserve

APPLICATION_ID = 0x50535031
SCHEMA_VERSION = 1
LOCK_PAUSE = 0.001
"""Seconds between two tries for the lock, with jitter. Its holder writes one row and syncs it."""
LOG_PAGES = 100
"""Of SQLite's log, 4 KiB each, after which it is emptied into the file: well below `room.RESERVE`, which is all that a
replay has on a full disk."""

_SCHEMA = """
BEGIN;
CREATE TABLE calls (id INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER NOT NULL, shards INTEGER NOT NULL,
    boot TEXT NOT NULL, uptime INTEGER NOT NULL, wall INTEGER NOT NULL, floor INTEGER NOT NULL,
    durability TEXT NOT NULL, producer BLOB, number INTEGER,
    writes INTEGER NOT NULL, bytes INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE totals (writes INTEGER NOT NULL, bytes INTEGER NOT NULL, replayed INTEGER NOT NULL,
    superseded INTEGER NOT NULL, id TEXT NOT NULL);
CREATE TABLE lease (holder TEXT NOT NULL, boot TEXT NOT NULL, until INTEGER NOT NULL);
CREATE TABLE job (number INTEGER NOT NULL, last INTEGER NOT NULL, shards INTEGER NOT NULL);
CREATE TABLE floors (name BLOB PRIMARY KEY, shards INTEGER NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO totals VALUES (0, 0, 0, 0, lower(hex(randomblob(8))));
INSERT INTO lease VALUES ('', '', 0);
PRAGMA application_id = 1347637297;
PRAGMA user_version = 1;
COMMIT;
"""

log = logging.getLogger("penstock.spool")


class _OneAtATime:
    """Of whichever thread of this process is in SQLite; and of a fork, because a child of a process whose thread
    was in there would find SQLite's own locks taken for ever."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self.files: weakref.WeakSet[SpoolFiles] = weakref.WeakSet()

    def lock(self) -> threading.Lock:
        if self._pid != os.getpid():  # a fork's child, once: the parent held the lock, for us too
            self._pid, self._lock = os.getpid(), threading.Lock()
            for files in list(self.files):
                files.abandon()
        return self._lock


_process = _OneAtATime()
os.register_at_fork(
    before=lambda: _process.lock().acquire() and None,
    after_in_parent=lambda: _process.lock().release(),
    after_in_child=_process.lock,
)
_abandoned: list[sqlite3.Connection] = []
"""Those of a parent process. Closing one in a child could take the file from under the parent, so they are kept."""


class SpoolBusyError(Exception):
    """Another process has held the spool's lock for all of the time."""


class SpoolFiles:
    """The files of one queue's spool in a directory. Used by one thread at a time, not after a fork.

    Raises:
        InvalidSetting: the directory cannot be used, or a newer version of Penstock has written it.
    """

    def __init__(self, directory: str, queue: str) -> None:
        self.directory = Path(directory)
        self.path = self.directory / f"{queue}.spool"
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._lock = -1
        try:
            self.directory.mkdir(mode=0o770, parents=True, exist_ok=True)
            self.flag = Flag(self.directory / f"{queue}.flag")
            with _process.lock():  # no fork in between: its child would not know what to close
                self._lock = os.open(self.directory / f"{queue}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
                _process.files.add(self)
        except OSError as error:
            raise InvalidSetting(f"spool (PENSTOCK_SPOOL)={directory}: {error.strerror}: {error.filename}") from None
        self.reserve = Reserve(self.directory / f"{queue}.reserve")

    def abandon(self) -> None:
        """In a fork's child: the connection and the lock are the parent's. With the descriptor a child would keep the
        lock of a parent that is killed while it has it; closing it takes it from nobody."""
        if self._connection is not None:
            _abandoned.append(self._connection)
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def close(self) -> None:
        """For good; it waits for the transactions of other threads."""
        with _process.lock():
            self._drop()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    @contextmanager
    def locked(self, limit: float) -> Iterator[sqlite3.Connection]:
        """One transaction, alone among all threads and processes: committed at the end, undone on an error.

        Raises:
            SpoolBusyError: the lock was not free within ``limit`` seconds.
            sqlite3.Error, OSError: the disk is full or broken; nothing was kept.
        """
        deadline = time.monotonic() + limit
        process = _process.lock()
        if not process.acquire(timeout=limit):
            raise SpoolBusyError(f"{self.path}: other threads had it for {limit:g} s")
        try:
            if self._lock < 0:
                raise SpoolBusyError(f"{self.path}: it is closed")
            self._take_lock(deadline, limit)
            try:
                with self._transaction() as connection:
                    yield connection
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)
        finally:
            process.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                self._set_aside(str(error))
            raise

    def _take_lock(self, deadline: float, limit: float) -> None:
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise SpoolBusyError(f"{self.path}: other processes had it for {limit:g} s") from None
            time.sleep(LOCK_PAUSE * random.uniform(0.5, 1.5))

    def _open(self) -> sqlite3.Connection:
        """The connection, made anew when another process has set the file aside."""
        if self._connection is not None:
            if _inode(self.path) == self._inode:
                return self._connection
            self._drop()
        try:
            return self._connect()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # In a damaged file's list of tables: a length that is "too big", a name that is no text.
            if not isinstance(error, (sqlite3.DataError, UnicodeDecodeError)) and not is_damage(error):
                self._drop()
                raise
            self._set_aside(str(error))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
        connection.text_factory = as_text
        self._connection = connection
        known = int(connection.execute("PRAGMA application_id").fetchone()[0])
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if known == APPLICATION_ID and version > SCHEMA_VERSION:
            self._drop()
            raise InvalidSetting(
                f"spool (PENSTOCK_SPOOL): {self.path} was written by a newer version of Penstock: upgrade this one"
            )
        if not is_new and known != APPLICATION_ID:
            raise sqlite3.DatabaseError("file is not a database of Penstock's")
        if is_new:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = OFF")  # else taking a row out writes as much as it holds
        connection.execute("PRAGMA journal_size_limit = 1048576")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if is_new:
            connection.executescript(_SCHEMA)
        else:
            connection.execute("SELECT writes FROM totals").fetchone()
        self._inode = _inode(self.path)
        self.flag.pending = connection.execute("SELECT 1 FROM calls LIMIT 1").fetchone() is not None
        return connection

    def set_row_aside(self, connection: sqlite3.Connection, row_id: int, why: str) -> None:
        """Within a transaction: a row that cannot be read goes into a spool's file of its own, on the disk before it is
        taken out here. The others stay."""
        row = connection.execute("SELECT * FROM calls WHERE id = ?", (row_id,)).fetchone()
        held = connection.execute("SELECT writes, bytes FROM calls WHERE id = ?", (row_id,)).fetchone()
        aside = Path(f"{self.path}{_mark()}")
        try:
            with closing(sqlite3.connect(aside, isolation_level=None)) as other:
                other.execute("PRAGMA synchronous = EXTRA")
                other.executescript(_SCHEMA)
                other.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                other.execute("UPDATE totals SET writes = ?, bytes = ?", held)
        except BaseException:
            for end in ("", "-journal"):
                Path(f"{aside}{end}").unlink(missing_ok=True)
            raise
        connection.execute("DELETE FROM calls WHERE id = ?", (row_id,))
        connection.execute("UPDATE totals SET writes = writes - ?, bytes = bytes - ?", held)
        log.error(
            "a row of the spool %s cannot be read (%s): it was set aside as %s, and is not replayed; see docs/spool.md",
            self.path, why, aside,
        )  # fmt: skip

    def _set_aside(self, why: str) -> None:
        self._drop()
        mark = _mark()
        for end in ("", "-wal", "-shm"):
            path = Path(f"{self.path}{end}")
            if path.exists():
                path.rename(f"{self.path}{mark}{end}")
        log.error(
            "the spool %s cannot be read (%s): it was set aside as %s%s, and a new one begun; what it holds is not "
            "replayed, see docs/spool.md",
            self.path, why, self.path, mark,
        )  # fmt: skip

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is wrong, and not the disk or another process in the way."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return True
    if isinstance(error, sqlite3.IntegrityError):  # what is there breaks a rule by which it was written
        return True
    return str(error).startswith(("file is not a database", "no such table", "no such column"))


def as_text(data: bytes) -> str:
    """What SQLite takes for text; a flipped bit in it is the reader's to find."""
    return data.decode(errors="replace")


def _mark() -> str:
    return f".aside-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(2).hex()}"


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
