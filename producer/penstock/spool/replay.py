"""Sends what lies in the spool to the queue, in order."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from struct import Struct
from typing import Any, cast

from penstock.calls import Caller, Options
from penstock.errors import NotDurable, PenstockError, QueueFull
from penstock.queue.commit import Group
from penstock.queue.connection import LookAgain, open_client
from penstock.queue.durability import Durability
from penstock.queue.enqueue import Accepted, LateCall, OtherShards, Prepared
from penstock.queue.names import key_prefix, shard_of
from penstock.shards import ShardCount
from penstock.spool.clock import Moment, RedisTime
from penstock.spool.jobs import Job, Jobs, Progress
from penstock.spool.recent import Recent
from penstock.spool.rows import Row
from penstock.spooling import note_given
from penstock.sync_channel import Channel

MOST_ROWS = 256
"""In one call; fewer while the queue is nearly full."""

_BOUNDS = Struct(">QQQ")


class _Link:
    """The way to one shard: its clock, what has ended there, and calls. Connects on first use."""

    def __init__(self, options: Options, shard: int, shards: int) -> None:
        self._timeout = options.timeout
        self._client = open_client(options.url, options.timeout, options.queue, shard, shards)
        self._recent = Recent(self._client, key_prefix(options.queue, shard, shards))
        self._caller = Caller(options, shard, shards)
        self._channel = Channel(self._caller)

    def close(self) -> None:
        self._channel.close()
        self._client.close()

    def clock(self) -> RedisTime:
        before = Moment.now()
        seconds, micros = cast("Any", self._client).time()
        here = Moment.now()
        return RedisTime(seconds * 1_000_000 + micros, here, here.uptime - before.uptime)

    def bound(self, rows: list[Row], floors: dict[bytes, int], shard: int, shards: int) -> dict[int, list[Group]]:
        """The writes of the rows that belong to this shard, each with what it must not overwrite; by row."""
        clock = self.clock()
        self._recent.refresh(min(clock.earliest(row.origin.at) for row in rows))
        bound: dict[int, list[Group]] = {}
        for row in rows:
            after = clock.earliest(row.origin.at)
            floor = row.origin.floor if (row.origin.shard, row.origin.shards) == (shard, shards) else 0
            # A lost call's write that was superseded by itself has a number that nobody here knows: it must not
            # supersede what the host accepted after it, by the clock's error.
            latest = clock.latest(row.origin.at)
            groups = [
                [
                    self._bounded(
                        write, after, max(floor, floors.get(write.name, 0) or latest * (write.name in floors))
                    )
                    for write in group
                    if shard_of(write.name, shards) == shard
                ]
                for group in row.groups
            ]
            bound[row.id] = groups
        return bound

    def _bounded(self, write: Prepared, after: int, floor: int) -> Prepared:
        bounds = _BOUNDS.pack(after, floor, self._recent.newest(write.name))
        return write._replace(head=write.head + bounds + self._recent.cursor)

    def send(self, producer: bytes, number: int, groups: list[Group]) -> list[Accepted | PenstockError]:
        deadline = time.monotonic() + self._timeout
        self._caller.resume(producer, number)
        self._channel.ready(deadline)
        return self._channel.send(groups, deadline)


class Replay:
    """For the one thread that has the lease.

    Raises:
        PenstockError, redis.RedisError: the queue does not take the writes now; they stay where they are.
        SpoolBusyError, sqlite3.Error, OSError: the spool cannot be read or written now.
        LostError: another process has the lease.
    """

    def __init__(self, options: Options, jobs: Jobs) -> None:
        self._options = options
        self._jobs = jobs
        self._known = ShardCount()
        self._links: dict[tuple[int, int, str], _Link] = {}
        self._most = MOST_ROWS

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

    def step(self) -> bool:
        """Replays one job. False when the spool is empty."""
        job = self._jobs.next(self._most, self._known.shards)
        if job is None:
            return False
        progress = Progress()
        try:
            refusal = self._send(job, progress)
        except LookAgain:  # from where it has looked, which is little to read
            return True
        if refusal is not None:
            self._refused(job, progress, refusal)
            return True
        self._jobs.done(job, progress)
        self._most = min(MOST_ROWS, self._most * 2)
        return True

    def _send(self, job: Job, progress: Progress) -> PenstockError | None:
        """What the first shard that does not take its writes says; those behind it are not asked."""
        for shard in sorted({shard_of(write.name, job.shards) for row in job.rows for write in row.writes}):
            link = self._link(shard, job.shards, job.rows[0].origin.durability)
            bound = link.bound(job.rows, job.floors, shard, job.shards)
            if job.is_lost_call:
                groups = bound[job.rows[0].id]
            else:  # one group, so that no write is accepted before one of its key that was refused
                groups = [[write for row in job.rows for group in bound[row.id] for write in group]]
            outcomes = link.send(job.producer, job.number, groups)
            note_given(self._jobs.watch(shard, job.shards), outcomes)
            refusals: list[PenstockError] = []
            for at, (group, outcome) in enumerate(zip(groups, outcomes, strict=True)):
                if isinstance(outcome, PenstockError):
                    refusals.append(outcome)
                    continue
                for write, (seq, _) in zip(group, outcome, strict=True):
                    progress.accepted(write.name, seq, at if job.is_lost_call else sys.maxsize)
            if refusals:
                return next((error for error in refusals if isinstance(error, NotDurable)), refusals[0])
        return None

    def _refused(self, job: Job, progress: Progress, refusal: PenstockError) -> None:
        """Raises it, unless there is something else to be tried at once."""
        if isinstance(refusal, NotDurable):  # the same call is to wait on for what it has in the queue
            raise refusal
        # Redis remembers a refusal as it does an acceptance: only under another number does it look again.
        self._jobs.redo(job, progress, as_new=not isinstance(refusal, OtherShards))
        if isinstance(refusal, OtherShards):
            self._known.told(refusal.shards)
            if refusal.shards in (0, job.shards):
                raise refusal
        elif isinstance(refusal, QueueFull) and self._most > 1:
            # What still fits goes; and a job of fewer rows needs less room at once.
            self._most = max(1, len(job.rows) // 2)
        # A later call of a late one's identity was answered before: whether this one was is not known. Replayed as
        # new, a write that was accepted is superseded by itself.
        elif not isinstance(refusal, LateCall):
            raise refusal

    def _link(self, shard: int, shards: int, durability: str) -> _Link:
        link = self._links.get((shard, shards, durability))
        if link is None:
            options = replace(self._options, durability=Durability.parse(durability))
            link = self._links[shard, shards, durability] = _Link(options, shard, shards)
        return link
