"""What is replayed next, and by whom: the replayer's side of the spool's file.

A job is the first rows of the spool, sent under a number of their own. It is written down before it is sent, so that
whoever takes over from a dead process sends the same under the same number, and Redis answers what it answered before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from penstock.queue.enqueue import MAX_CALL_BYTES, MAX_CALL_WRITES
from penstock.spool.clock import Moment
from penstock.spool.files import SpoolFiles
from penstock.spool.flag import Watch
from penstock.spool.rows import Origin, Row, unpack_groups

LEASE = 10.0
"""Seconds that the one who replays may be silent until another process takes over."""
LOCK_LIMIT = 5.0
"""Seconds to wait for the spool's lock."""


class LostError(Exception):
    """Another process replays now."""


@dataclass(frozen=True, slots=True)
class Job:
    """Rows to be sent together. ``number``: of the call, under ``producer``; of a lost call, its own."""

    number: int
    producer: bytes
    rows: list[Row]
    floors: dict[bytes, int]

    @property
    def is_lost_call(self) -> bool:
        return self.producer == self.rows[0].origin.producer


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
        """The next job for so many shards; None when the spool is empty, which is then told to all.

        Raises:
            LostError: another process has the lease.
        """
        with self._files.locked(LOCK_LIMIT) as connection:
            self._check(connection)
            kept = connection.execute("SELECT number, last, shards FROM job WHERE last > 0").fetchone()
            if kept is not None and kept[2] == shards:
                rows = _rows(connection, kept[1], MAX_CALL_WRITES)
            else:
                rows = _first(_rows(connection, None, most_rows))
                if rows:
                    self._begin(connection, rows, shards)
            if not rows:
                connection.execute("DELETE FROM floors")
                connection.execute("PRAGMA incremental_vacuum")
                # Under the lock, so that nobody appends between the look and this.
                self._files.flag.pending = False
                return None
            number = int(connection.execute("SELECT number FROM job").fetchone()[0])
            spool_id = str(connection.execute("SELECT id FROM totals").fetchone()[0])
            floors = _floors(connection, {write.name for row in rows for write in row.writes}, shards)
        first = rows[0].origin
        if first.producer is not None and first.number is not None and first.shards == shards:
            return Job(first.number, first.producer, rows[:1], floors)
        return Job(number, spool_id.encode(), rows, floors)

    def redo(self) -> None:
        """The job is to be made anew, with another size or for another number of shards."""
        with self._files.locked(LOCK_LIMIT) as connection:
            self._check(connection)
            connection.execute("UPDATE job SET last = 0")

    def as_new(self, row: Row) -> None:
        """A lost call's number is worth nothing any more: its writes are replayed as others are."""
        with self._files.locked(LOCK_LIMIT) as connection:
            self._check(connection)
            connection.execute("UPDATE calls SET number = NULL WHERE id = ?", (row.id,))
            connection.execute("UPDATE job SET last = 0")

    def done(self, job: Job, given: dict[bytes, int], shards: int, superseded: int) -> None:
        """Takes the job's rows out. ``given``: the highest number that each name got; 0 where a lost call's write was
        superseded, perhaps by itself.

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
            connection.execute(
                "UPDATE totals SET writes = writes - ?, bytes = bytes - ?, replayed = replayed + ?,"
                " superseded = superseded + ?",
                (writes, size, writes, superseded),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO floors (name, shards, seq) VALUES (?, ?, ?)",
                [(name, shards, seq) for name, seq in given.items()],
            )
            connection.execute("UPDATE job SET last = 0")

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


def _rows(connection: sqlite3.Connection, last: int | None, most: int) -> list[Row]:
    found = connection.execute(
        "SELECT id, shard, shards, boot, uptime, wall, floor, durability, producer, number, body FROM calls"
        " WHERE ? IS NULL OR id <= ? ORDER BY id LIMIT ?",
        (last, last, most),
    )
    rows: list[Row] = []
    writes = size = 0
    for id_, shard, shards, boot, uptime, wall, floor, durability, producer, number, body in found:
        origin = Origin(shard, shards, Moment(boot, uptime, wall), floor, durability, producer, number)
        row = Row(id_, origin, unpack_groups(body))
        writes += len(row.writes)
        size += len(body)
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
