"""What is replayed next, and by whom: the replayer's side of the spool's file.

A job is the first rows of the spool, sent under a number of their own. It is written down before it is sent, so that
whoever takes over from a dead process sends the same under the same number, and Redis answers what it answered before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from penstock.queue.commit import Group
from penstock.queue.enqueue import MAX_CALL_BYTES, MAX_CALL_WRITES
from penstock.spool.clock import Moment
from penstock.spool.files import SpoolFiles
from penstock.spool.flag import Watch
from penstock.spool.rows import ROW_BYTES, SELECT, DamagedRowError, Row, pack_groups, read_row

LEASE = 10.0
"""Seconds that the one who replays may be silent until another process takes over."""
LOCK_LIMIT = 5.0
"""Seconds to wait for the spool's lock."""
FREED_PAGES = 100
"""Of 4 KiB each: what is given back of the disk at most, each time the spool is empty. Each goes through SQLite's log,
for which a full disk has little room."""


class LostError(Exception):
    """Another process replays now."""


@dataclass(frozen=True, slots=True)
class Job:
    """Rows to be sent together, to so many shards. ``number``: of the call, under ``producer``; a lost call's own."""

    number: int
    producer: bytes
    shards: int
    rows: list[Row]
    floors: dict[bytes, int]

    @property
    def is_lost_call(self) -> bool:
        return self.producer == self.rows[0].origin.producer


@dataclass(slots=True)
class Progress:
    """What the shards have said of a job so far.

    Attributes:
        given: the highest number that each accepted name got; 0 for a superseded one.
        upto: of each accepted name the last group of a row that holds nothing newer than what was accepted.
        superseded: how many writes were.
    """

    given: dict[bytes, int] = field(default_factory=dict)
    upto: dict[bytes, int] = field(default_factory=dict)
    superseded: int = 0

    def accepted(self, name: bytes, seq: int, group: int) -> None:
        self.given[name] = max(seq, self.given.get(name, 0))
        self.upto[name] = group
        self.superseded += seq == 0

    def left(self, row: Row) -> list[Group]:
        """What the queue has not yet, and is to have: not what is older than an accepted write of the same row."""
        groups = [
            [write for write in group if at > self.upto.get(write.name, -1)] for at, group in enumerate(row.groups)
        ]
        return [group for group in groups if group]


class Jobs:
    """For one thread of one process, with files of its own. Its errors are SpoolBusyError, sqlite3's and OSError."""

    def __init__(self, files: SpoolFiles, holder: str) -> None:
        self._files = files
        self._holder = holder

    def take(self) -> bool:
        """Takes or renews the lease. False: another process has it."""
        now = Moment.now()
        with self._files.locked(LOCK_LIMIT) as connection:
            holder, boot, until = connection.execute("SELECT holder, boot, until FROM lease").fetchone()
            if holder not in ("", self._holder) and boot == now.boot and until > now.uptime:
                return False
            connection.execute(
                "UPDATE lease SET holder = ?, boot = ?, until = ?",
                (self._holder, now.boot, now.uptime + int(LEASE * 1e6)),
            )
            return True

    def give_back(self) -> None:
        with self._files.locked(LOCK_LIMIT) as connection:
            connection.execute("UPDATE lease SET holder = '' WHERE holder = ?", (self._holder,))

    def next(self, most_rows: int, shards: int) -> Job | None:
        """The next job; None when the spool is empty, which is then told to all.

        Args:
            shards: for how many a new one is made. One that was begun goes to as many as then: another number would
                give its writes another place, and nobody would know what became of them.

        Raises:
            LostError: another process has the lease.
        """
        while True:
            try:
                return self._next(most_rows, shards)
            except DamagedRowError as error:
                with self._files.locked(LOCK_LIMIT) as connection:
                    self._check(connection)
                    self._files.set_row_aside(connection, error.row_id, str(error))
                    # A job is sent again as it was, or as another.
                    connection.execute("UPDATE job SET last = 0")

    def _next(self, most_rows: int, shards: int) -> Job | None:
        with self._files.locked(LOCK_LIMIT) as connection:
            self._check(connection)
            kept = connection.execute("SELECT last, shards FROM job WHERE last > 0").fetchone()
            if kept is not None:
                last, shards = kept
                rows = _rows(connection, last, MAX_CALL_WRITES)
            else:
                rows = _first(_rows(connection, None, most_rows))
                if rows:
                    self._begin(connection, rows, shards)
            if not rows:
                connection.execute("DELETE FROM floors")
                _shrink(connection)
                # Under the lock, so that nobody appends between the look and this.
                self._files.flag.pending = False
                return None
            number = int(connection.execute("SELECT number FROM job").fetchone()[0])
            spool_id = str(connection.execute("SELECT id FROM totals").fetchone()[0])
            floors = _floors(connection, {write.name for row in rows for write in row.writes}, shards)
        first = rows[0].origin
        if first.producer is not None and first.number is not None and first.shards == shards:
            return Job(first.number, first.producer, shards, rows[:1], floors)
        return Job(number, spool_id.encode(), shards, rows, floors)

    def redo(self, job: Job, progress: Progress, *, as_new: bool) -> None:
        """What is left of the job is to be sent under another number.

        Args:
            as_new: a lost call's own number is worth nothing any more: its writes are replayed as others are.

        Raises:
            LostError: another process has the lease; nothing was changed.
        """
        with self._files.locked(LOCK_LIMIT) as connection:
            self._check(connection)
            for row in job.rows:
                left = progress.left(row)
                if left != row.groups:
                    _take_out(connection, row.id, left)
            _end(connection, job, progress)
            if as_new and job.is_lost_call:
                connection.execute("UPDATE calls SET number = NULL WHERE id = ?", (job.rows[0].id,))

    def done(self, job: Job, progress: Progress) -> None:
        """Takes the job's rows out.

        Raises:
            LostError: another process has the lease, and may have sent them too; nothing was changed.
        """
        with self._files.locked(LOCK_LIMIT) as connection:
            self._check(connection)
            last = job.rows[-1].id
            writes, size = connection.execute(
                "SELECT coalesce(sum(writes), 0), coalesce(sum(bytes), 0) FROM calls WHERE id <= ?", (last,)
            ).fetchone()
            connection.execute("DELETE FROM calls WHERE id <= ?", (last,))
            _count_out(connection, writes, size)
            _end(connection, job, progress)

    def watch(self, shard: int, shards: int) -> Watch:
        """The host's memory of the highest number that the shard gave it."""
        return self._files.flag.watch(shard, shards)

    def oldest(self) -> Moment | None:
        """When the first of what waits was accepted, at the earliest."""
        with self._files.locked(LOCK_LIMIT) as connection:
            found = connection.execute("SELECT boot, uptime, wall FROM calls ORDER BY id LIMIT 1").fetchone()
        return None if found is None else Moment(*found)

    def _check(self, connection: sqlite3.Connection) -> None:
        (holder,) = connection.execute("SELECT holder FROM lease").fetchone()
        if holder != self._holder:
            raise LostError

    def _begin(self, connection: sqlite3.Connection, rows: list[Row], shards: int) -> None:
        if connection.execute("SELECT 1 FROM job").fetchone() is None:
            connection.execute("INSERT INTO job VALUES (0, 0, 0)")
        connection.execute("UPDATE job SET number = number + 1, last = ?, shards = ?", (rows[-1].id, shards))


def _shrink(connection: sqlite3.Connection) -> None:
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(free, FREED_PAGES)):
        # A page a step; and sqlite3 takes only the first step of a statement without columns.
        connection.execute("PRAGMA incremental_vacuum(1)")


def _rows(connection: sqlite3.Connection, last: int | None, most: int) -> list[Row]:
    found = connection.execute(
        SELECT + " WHERE ? IS NULL OR id <= ? ORDER BY id LIMIT ?",
        (last, last, most),
    )
    rows: list[Row] = []
    writes = size = 0
    for one in found:
        row = read_row(one)
        writes += len(row.writes)
        size += len(one[-1])
        if last is None and rows and (writes > MAX_CALL_WRITES or size > MAX_CALL_BYTES):
            break
        rows.append(row)
    return rows


def _first(rows: list[Row]) -> list[Row]:
    """Those that can go together: a lost call goes alone, and all want the same durability."""
    first: list[Row] = []
    for row in rows:
        if first and (row.origin.producer is not None or row.origin.durability != first[0].origin.durability):
            break
        first.append(row)
        if row.origin.producer is not None:
            break
    return first


def _floors(connection: sqlite3.Connection, names: Iterable[bytes], shards: int) -> dict[bytes, int]:
    floors: dict[bytes, int] = {}
    for name in names:
        found = connection.execute("SELECT seq FROM floors WHERE name = ? AND shards = ?", (name, shards)).fetchone()
        if found is not None:
            floors[name] = int(found[0])
    return floors


def _take_out(connection: sqlite3.Connection, row: int, left: list[Group]) -> None:
    """All of a row but this."""
    writes, size = connection.execute("SELECT writes, bytes FROM calls WHERE id = ?", (row,)).fetchone()
    if left:
        body = pack_groups(left)
        rest = sum(len(group) for group in left), len(body) + ROW_BYTES
        connection.execute("UPDATE calls SET writes = ?, bytes = ?, body = ? WHERE id = ?", (*rest, body, row))
        _count_out(connection, writes - rest[0], size - rest[1])
    else:
        connection.execute("DELETE FROM calls WHERE id = ?", (row,))
        _count_out(connection, writes, size)


def _count_out(connection: sqlite3.Connection, writes: int, size: int) -> None:
    connection.execute(
        "UPDATE totals SET writes = writes - ?, bytes = bytes - ?, replayed = replayed + ?", (writes, size, writes)
    )


def _end(connection: sqlite3.Connection, job: Job, progress: Progress) -> None:
    """Of the job as it was begun. The numbers that its names got are those of the host's own older writes from now on;
    0, which is kept of a lost call alone, is one that nobody here knows: its write may have been superseded by itself.
    """
    is_lost = job.rows[0].origin.producer is not None
    connection.executemany(
        "INSERT INTO floors (name, shards, seq) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " seq = max(excluded.seq, CASE WHEN shards = excluded.shards THEN seq ELSE 0 END), shards = excluded.shards",
        [(name, job.shards, seq) for name, seq in progress.given.items() if seq or is_lost],
    )
    connection.execute("UPDATE totals SET superseded = superseded + ?", (progress.superseded,))
    connection.execute("UPDATE job SET last = 0")
