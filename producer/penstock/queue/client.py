"""The worker's and the operator's side of the queue: claim, renew, settle, release, sweep, look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from struct import Struct
from typing import Any, cast

import msgspec
import redis

from penstock.errors import InvalidSetting
from penstock.queue.answers import pair_counters, parse_batch, parse_dead, parse_stats
from penstock.queue.names import LAYOUT_VERSION, join_name, key_prefix, script_keys
from penstock.queue.results import (
    ClaimReply,
    DeadLetter,
    Failure,
    Outcome,
    Settled,
    Settlement,
    Stats,
    Swept,
)
from penstock.queue.scripts import Script, load

SWEEP_STEP = 50
"""Writes one sweep call handles: some 1.5 ms of Redis's time; more where the queue is far larger than the caches."""

SETTLE_STEP = 50
"""Writes one settle call handles: likewise. A full batch is one call by default."""

RETRY_STEP = 50
"""Dead letters one retry call handles: likewise."""

FETCH_BYTES = 2 * 1024**2
"""Bytes of bodies that Redis puts into one answer: a quarter of a millisecond of its time. 16 MiB at once take 10 to 20
(Redis 7.0, measured), because it asks the system for memory that it has not used before."""

LEASE_LOST = Failure("unknown", "LeaseExpired", None, "the worker that held the write died, or lost its lease")
GUARD_SECONDS = 960.0
"""How long a request of an earlier claim may still land: a SigV4 signature dies 15 minutes after its date (S3 API
reference, "Authenticating Requests"), and clocks differ by up to 30 seconds on either side."""

_CRITICAL, _CRITICAL_AT = Struct("<d24xd"), (32, 71)
"""The counters r0 and a0 in the first string of counters, see counters.lua."""
_SETTLED = {ord(settled.value): settled for settled in Settled}
NO_REASON = Failure("unknown", "Unknown", None, "no reason was given")
RELEASED = Failure("unknown", "Released", None, "the worker stopped while the write was being sent")


class Queue:
    """One shard of a queue; where that is all of it, the whole. Safe to share between threads.

    Every call is one round trip unless it says otherwise.

    Args:
        client: answers as bytes, with redis-py's own retries off (``connection.open_client``).
        guard_seconds: how long a name stays marked after a request of it may have been left on its way.
        clock: replaces the scripts' snippets of time and of the server's identity; for tests.

    Raises:
        redis.exceptions.RedisError: from every call, as redis-py raises it.
    """

    def __init__(
        self,
        client: redis.Redis,
        name: str,
        *,
        shard: int = 0,
        shards: int = 1,
        guard_seconds: float = GUARD_SECONDS,
        clock: str | None = None,
    ) -> None:
        self.client = client
        self.name = name
        self.shard = shard
        self.count = shards
        self.prefix = key_prefix(name, shard, shards)
        self._meta = self.prefix + "meta"
        self._keys = script_keys(self.prefix)
        self.window = int(guard_seconds * 1e6)
        """The guard's window, µs."""
        self._clock = clock

    @property
    def shards(self) -> tuple[Queue, ...]:
        """Itself: as all shards of a queue (`AnyQueue`)."""
        return (self,)

    def of(self, bucket: str, key: str) -> Queue:
        """Itself: as the shard of a name."""
        return self

    # -- the worker ---------------------------------------------------------------------------------------------

    def claim(
        self,
        tokens: Sequence[str],
        *,
        lease: float,
        max_items: int,
        max_bytes: int,
        max_wait: float,
        budget: int,
        holds_none: bool,
        skip: Iterable[str] = (),
        only_critical: bool = False,
    ) -> ClaimReply:
        """Claims up to one batch per token: several only when they are full. A swept one comes alone (rule ALONE).

        Args:
            tokens: new names for the claims, chosen by the caller, who can so release a claim whose answer was lost.
            lease: seconds until others may take the writes, unless renewed.
            max_wait: seconds a write waits for its batch to fill.
            budget: bytes of bodies the caller can still hold; with ``holds_none`` one larger write fits too.
            skip: buckets of which the caller wants nothing now.
            only_critical: it has no room for others. Such a claim is not what a wake-up asks for, and passes none on.
        """
        reply = self.run(
            "claim",
            int(lease * 1000),
            max_items,
            int(max_bytes),  # hiredis packs plain ints only, and settings hold sizes of a type of their own
            int(max_wait * 1e6),
            int(budget),
            int(holds_none),
            "".join(f"{bucket}/" for bucket in skip),
            self.window,
            int(only_critical),
            *tokens,
        )
        wait, newer_wire, missing, alone, suspended, epoch, epoch_left, needs = reply[:8]
        return ClaimReply(
            None if wait < 0 else wait / 1000,
            newer_wire,
            missing,
            bool(alone),
            suspended,
            [parse_batch(raw, epoch) for raw in reply[8:]],
            epoch,
            epoch_left / 1000,
            needs,
        )

    def any_critical(self) -> bool:
        """Whether a critical write is ready for a claim. So small a read that it may be made often."""
        found = cast(bytes, self.client.getrange(self.prefix + "count", *_CRITICAL_AT))
        if len(found) < _CRITICAL.size:
            return False  # an empty queue
        ready, set_aside = _CRITICAL.unpack(found)
        return bool(ready > set_aside)

    def fetch_blobs(self, blob_ids: Sequence[str], sizes: Sequence[int] = ()) -> list[bytes | None]:
        """Large bodies; None for one that is gone, because a newer write took its place.

        Args:
            sizes: their bytes. With them it is a call for every 2 MiB, else one for all.
        """
        keys = [f"{self.prefix}blob:{blob_id}" for blob_id in blob_ids]
        if not sizes:
            return self._mget(keys)
        found: list[bytes | None] = []
        first, together = 0, 0
        for at, size in enumerate(sizes):
            if first < at and together + size > FETCH_BYTES:
                found += self._fetch(keys[first:at], together)
                first, together = at, 0
            together += size
        return found + self._fetch(keys[first:], together)

    def _fetch(self, keys: list[str], size: int) -> list[bytes | None]:
        """Of one body, or of several that fit into an answer."""
        if size <= FETCH_BYTES:
            return self._mget(keys)
        (key,) = keys
        # Nothing ever changes a body: it is there, or it is gone, maybe from some piece on.
        last = FETCH_BYTES - 1
        pieces = [cast(bytes, self.client.getrange(key, at, at + last)) for at in range(0, size, FETCH_BYTES)]
        body = b"".join(pieces)
        return [body if len(body) == size else None]

    def _mget(self, keys: list[str]) -> list[bytes | None]:
        return cast("list[bytes | None]", self.client.mget(keys))

    def renew(self, tokens: Sequence[str], *, lease: float, max_age: float) -> list[str]:
        """One letter a token: ``1`` renewed, ``0`` gone, ``c`` older than ``max_age`` seconds (rule CAP)."""
        return list(self.run("renew", int(lease * 1000), int(max_age * 1000), *tokens).decode())

    def settle(self, token: str, settlements: Sequence[Settlement], *, max_attempts: int) -> list[Settled]:
        """Ends the claims of these writes; a call for every 50. A stale token changes nothing (rule TOKEN)."""
        outcome: list[Settled] = []
        for at in range(0, len(settlements), SETTLE_STEP):
            args: list[Any] = []
            for one in settlements[at : at + SETTLE_STEP]:
                if one.outcome is Outcome.STORED:
                    args += (one.name, b"s", b"1", 0, b"")
                    continue
                done = one.outcome is Outcome.OVERTAKEN
                failure = b"" if done else msgspec.msgpack.encode(one.failure or NO_REASON)
                args += (
                    one.name,
                    one.outcome.value,
                    b"1" if one.counted else b"0",
                    int(one.delay * 1000),
                    failure,
                )
            answer = self.run("settle", token, max_attempts, self.window, *args)
            outcome += [_SETTLED[letter] for letter in answer]
        return outcome

    def release(self, token: str, *, max_attempts: int, sent: Iterable[bytes] = ()) -> tuple[int, int, int]:
        """Gives back all that the token still holds: (given back, superseded, dead). ``sent`` may have reached S3.

        A call for every 100: after an error a part may be given back, and the same call goes on with the rest.
        """
        failure = msgspec.msgpack.encode(RELEASED)
        names, given, superseded, dead, left = list(sent), 0, 0, 0, 1
        while left:
            answer = self.run("release", token, max_attempts, failure, self.window, *names)
            given, superseded, dead, left = given + answer[0], superseded + answer[1], dead + answer[2], answer[3]
        return given, superseded, dead

    def sweep(self, *, max_attempts: int, limit: int = SWEEP_STEP) -> Swept:
        """Takes back expired leases and makes due retries ready, in one bounded step."""
        failure = msgspec.msgpack.encode(LEASE_LOST)
        wait, due, taken_back, dead, more = self.run("sweep", max_attempts, limit, failure, self.window)
        return Swept(None if wait < 0 else wait / 1000, due, taken_back, dead, bool(more))

    def wait_for_wake_up(self, timeout: float) -> bool:
        """Blocks until a producer or another worker wakes somebody, at most ``timeout`` seconds.

        The client's socket time limit must be longer.
        """
        return self.client.blpop([self.prefix + "wake"], timeout=timeout) is not None

    # -- the operator -------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        return parse_stats(self.name, self.run("stats"))

    def dead_letters(self, *, limit: int = 100, newest_first: bool = False) -> list[DeadLetter]:
        """By the time of their death, without those that are removed meanwhile; all: `dead.pages`. Two round trips."""
        ids = cast("list[bytes]", self.client.zrange(self.prefix + "dead:at", 0, limit - 1, desc=newest_first))
        if not ids:
            return []
        infos = cast("list[bytes | None]", self.client.hmget(self.prefix + "dead:info", cast("list[str]", ids)))
        return [parse_dead(seq, info) for seq, info in zip(ids, infos, strict=True) if info is not None]

    def dead_seqs(self, bucket: str, key: str) -> list[int]:
        """Sequence numbers of a name's dead letters, the oldest first."""
        packed = cast("bytes | None", self.client.hget(self.prefix + "dead:name", join_name(bucket, key))) or b""
        return [int.from_bytes(packed[at : at + 8]) for at in range(0, len(packed), 8)]

    def retry_dead(self, seqs: Sequence[int], *, force: bool = False) -> list[str]:
        """One letter a dead letter, see ``retry_dead.lua``; a call for every 50."""
        answer = ""
        for at in range(0, len(seqs), RETRY_STEP):
            step = [seq.to_bytes(8) for seq in seqs[at : at + RETRY_STEP]]
            answer += self.run("retry_dead", int(force), *step).decode()
        return list(answer)

    def configure(self, *, items: int | None = None, size: int | None = None, dead_size: int | None = None) -> None:
        """Sets the queue's limits: writes, their bytes, and dead letters' bytes."""
        given = {"items": items, "bytes": size, "dead_bytes": dead_size}
        fields = {name: value for name, value in given.items() if value is not None}
        if any(value < 1 for value in fields.values()):
            raise InvalidSetting("a limit of the queue must be at least 1")
        if fields:
            self.set_meta(fields)

    def counters(self, grown: Mapping[str, int] | None = None) -> dict[str, int]:
        """The queue's counters, after these grew; for the other modules of this package."""
        return pair_counters(self.run("counters", *chain.from_iterable((grown or {}).items())))

    def set_meta(self, fields: Mapping[str, int | str]) -> None:
        """Fields of the queue's meta; for the other modules of this package."""
        with cast("Any", self.client).pipeline(transaction=True) as pipe:
            pipe.hsetnx(self._meta, "layout", LAYOUT_VERSION)
            pipe.hsetnx(self._meta, "shards", self.count)
            pipe.hset(self._meta, mapping=fields)
            pipe.execute()

    # -- scripts ------------------------------------------------------------------------------------------------

    def run(self, name: str, *args: Any) -> Any:
        """Runs a script of this package on the queue; for the other modules of this package."""
        script = load(name, self._clock)
        try:
            return self._evalsha(script, args)
        except redis.exceptions.NoScriptError:  # Redis restarted, or SCRIPT FLUSH
            self.client.script_load(cast("Any", script.source))
            return self._evalsha(script, args)

    def _evalsha(self, script: Script, args: Sequence[Any]) -> Any:
        return self.client.evalsha(script.sha.decode(), len(self._keys), *self._keys, *args)
