"""A write queue on a real Redis whose time stands still until a test moves it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import redis

from penstock.errors import PenstockError
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.enqueue import Accepted, EnqueueCodec, Prepared, decode_answer
from penstock.queue.names import PRIORITIES, join_name
from penstock.queue.record import FLAG_BLOB, FLAG_DELETE, LARGE_BODY, Header, encode_header, encode_tail
from penstock.queue.results import Batch, Claimed, ClaimReply, Failure, Outcome, Settled, Settlement, Stats, Swept
from penstock.queue.scripts import load

if TYPE_CHECKING:
    from redis import Connection

CLOCK = """
local function clock()
  local now = redis.call('GET', string.sub(KEYS[1], 1, -5) .. 'test:now')
  return tonumber(now), now
end

local function replication_id()
  return redis.call('GET', string.sub(KEYS[1], 1, -5) .. 'test:server') or 'first'
end

local function server()
  return 'run:' .. replication_id()
end
"""
# Time goes on without memory too.
_SET_CLOCK = "#!lua flags=allow-oom\nredis.call('SET', KEYS[1], ARGV[1])"
START = int(datetime.fromisoformat("2026-11-01T12:00:00+00:00").timestamp() * 1e6)
"""Microseconds. A round number on purpose: it must not come back in a shape that only round numbers get."""

SOCKET_TIMEOUT = 30.0
MAX_ATTEMPTS = 3
LEASE = 15.0
MAX_WAIT = 1.5
PLENTY = 64 * 1024**2
BUCKET = "bucket"
LARGE = b"x" * LARGE_BODY
BROKEN = Failure("unknown", "Timeout", None, "no answer in time")
REFUSED = Failure("permanent", "InvalidTag", 400, "the tag is not valid")


class ShiftedQueue:
    """The producers' and the workers' side of one queue, with the defaults of the settings except MAX_ATTEMPTS."""

    def __init__(self, url: str, name: str) -> None:
        self.client = open_client(url, SOCKET_TIMEOUT)
        self.queue = Queue(self.client, name, clock=CLOCK)
        self.prefix = self.queue.prefix
        self._codec = EnqueueCodec(self.prefix.encode(), load("enqueue", CLOCK))
        self._connection: Connection = cast("Any", self.client.connection_pool).make_connection()
        self._tokens = (f"token-{number}" for number in itertools.count(1))
        self._numbers = itertools.count(1)
        self._blobs = itertools.count(1)
        self.now = START

    @property
    def now(self) -> int:
        """Microseconds since the epoch."""
        return self._now

    @now.setter
    def now(self, micros: int) -> None:
        self._now = micros
        self.client.eval(_SET_CLOCK, 1, self.prefix + "test:now", str(micros))

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)

    def change_server(self, name: str) -> None:
        """As if another server answered from now on, with the same data."""
        self.client.set(self.prefix + "test:server", name)

    def close(self, *, forget: bool = False) -> None:
        if forget:
            self.client.unlink(*self.all_keys())
        cast("Any", self._connection).disconnect()
        self.client.close()

    def all_keys(self) -> list[bytes]:
        """Those of this queue: tests share a Redis."""
        return cast("list[bytes]", self.client.keys(self.prefix.replace("[", r"\[") + "*"))

    def get(self, key: str) -> bytes | None:
        return cast("bytes | None", self.client.get(self.prefix + key))

    # -- the producers ------------------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        body: bytes = b"body",
        *,
        bucket: str = BUCKET,
        priority: str = "normal",
        tenant: str = "",
        apart: bool = False,
    ) -> Prepared:
        """Makes a write; a body of LARGE_BODY or more goes apart, or with ``apart`` any. `enqueue` sends it."""
        blob_id = b"blob-%d" % next(self._blobs) if apart or len(body) >= LARGE_BODY else None
        head = bytes((PRIORITIES.index(priority), FLAG_BLOB if blob_id else 0))
        tail = encode_tail(tenant.encode(), hashlib.sha256(body).digest(), encode_header(Header()), body, blob_id)
        return Prepared(join_name(bucket, key).encode(), head, tail, blob_id, body if blob_id else b"")

    def delete(self, key: str, *, bucket: str = BUCKET, priority: str = "normal", tenant: str = "") -> Prepared:
        head = bytes((PRIORITIES.index(priority), FLAG_DELETE))
        tail = encode_tail(tenant.encode(), bytes(32), encode_header(Header()), b"", None)
        return Prepared(join_name(bucket, key).encode(), head, tail, None, b"")

    def enqueue(self, *writes: Prepared) -> Accepted:
        """One group, which must be accepted: (sequence number, coalesced) of each write."""
        (outcome,) = self.send([writes])
        assert not isinstance(outcome, PenstockError), outcome
        return outcome

    def refusal(self, *writes: Prepared) -> PenstockError:
        """One group, which must be refused."""
        (outcome,) = self.send([writes])
        assert isinstance(outcome, PenstockError), outcome
        return outcome

    def send(
        self,
        groups: Sequence[Sequence[Prepared]],
        *,
        producer: bytes = b"producer",
        number: int | None = None,
        without_blobs: bool = False,
    ) -> list[Accepted | PenstockError]:
        """One enqueue call. ``without_blobs`` leaves the large bodies out, as if they had expired on the way."""
        number = next(self._numbers) if number is None else number
        command, replies = self._codec.encode(producer, number, groups)
        if without_blobs:
            command, replies = command[command.rindex(b"*", 0, command.index(b"EVALSHA")) :], 1
        try:
            answer = self._round_trip(command, replies)
        except redis.exceptions.NoScriptError:
            self._round_trip(self._codec.load_command(), 1)
            answer = self._round_trip(command, replies)
        return decode_answer(answer, groups)

    def _round_trip(self, command: bytes, replies: int) -> bytes:
        connection = cast("Any", self._connection)
        connection.send_packed_command([command], check_health=False)
        failure: redis.exceptions.ResponseError | None = None
        answer = b""
        for _ in range(replies):
            try:
                answer = connection.read_response(disable_decoding=True)
            except redis.exceptions.ResponseError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return answer

    # -- the workers --------------------------------------------------------------------------------------------

    def claim(
        self,
        *,
        batches: int = 1,
        lease: float = LEASE,
        max_items: int = 25,
        max_bytes: int = 8 * 1024**2,
        max_wait: float = MAX_WAIT,
        budget: int = PLENTY,
        holds_none: bool = True,
        only_critical: bool = False,
    ) -> ClaimReply:
        tokens = list(itertools.islice(self._tokens, batches))
        return self.queue.claim(
            tokens,
            lease=lease,
            max_items=max_items,
            max_bytes=max_bytes,
            max_wait=max_wait,
            budget=budget,
            holds_none=holds_none,
            only_critical=only_critical,
        )

    def claim_now(self, **options: Any) -> Batch:
        """One batch of what is ready, however young; there must be something."""
        (batch,) = self.claim(max_wait=0, **options).batches
        return batch

    def claimed(self, *writes: Prepared, **options: Any) -> Batch:
        """Accepts these writes and claims them, in a queue that holds nothing else ready."""
        self.enqueue(*writes)
        batch = self.claim_now(**options)
        assert len(batch.writes) == len(writes)
        return batch

    def settle(
        self,
        batch: Batch,
        outcome: Outcome = Outcome.STORED,
        *,
        counted: bool = True,
        delay: float = 0,
        failure: Failure | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> list[Settled]:
        """The same outcome for all writes of a batch."""
        if failure is None and outcome is not Outcome.STORED:
            failure = REFUSED if outcome is Outcome.DEAD else BROKEN
        settlements = [Settlement(write.name, outcome, counted, delay, failure) for write in batch.writes]
        return self.queue.settle(batch.token, settlements, max_attempts=max_attempts)

    def bury(self, *writes: Prepared) -> None:
        """Accepts, claims and dead-letters these writes."""
        settled = self.settle(self.claimed(*writes), Outcome.DEAD)
        assert settled == [Settled.DEAD] * len(writes)

    def sweep(self, **options: Any) -> Swept:
        return self.queue.sweep(max_attempts=MAX_ATTEMPTS, **options)

    def stats(self) -> Stats:
        return self.queue.stats()


@contextmanager
def open_queue(url: str, name: str) -> Iterator[ShiftedQueue]:
    """Checks when it ends that the layout in Redis is whole, whatever the test did."""
    from tests.support.queue_layout import check_layout

    queue = ShiftedQueue(url, name)
    try:
        yield queue
        check_layout(queue.client, queue.prefix)
    finally:
        queue.close(forget=True)


def body_of(write: Claimed) -> bytes:
    """The body of a small write."""
    body = write.record().body
    assert body is not None
    return bytes(body)


def keys_of(batch: Batch) -> list[str]:
    return [write.key for write in batch.writes]
