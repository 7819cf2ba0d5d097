"""dramatiq's Broker and Consumer over the write queue: one dramatiq message is one claimed batch.

dramatiq brings worker threads, middleware and life cycle; claims, leases, retries and order are the queue's. So a
message carries only a claim's token, nothing is ever enqueued through dramatiq, and ack means: give back whatever of
the claim is not settled.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

import dramatiq
import redis
import structlog
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.errors import QueueNotFound
from structlog.contextvars import bound_contextvars
from tenacity import RetryError

from penstock.errors import QueueMismatch
from penstock.queue.client import Queue
from penstock.queue.connection import translate
from penstock.queue.results import ClaimReply
from penstock.queue.suspension import probe
from penstock_worker.beats import Beats, of_shard
from penstock_worker.breaker import Breaker
from penstock_worker.claim_log import ClaimLog
from penstock_worker.held import Held, HeldClaim, Room, boottime
from penstock_worker.logs import name_shard
from penstock_worker.metrics import Metrics
from penstock_worker.retrying import while_leased
from penstock_worker.settings import WorkerSettings

log = structlog.get_logger()

ACTOR = "upload_batch"
CLAIM_DUTY = "claim"
CLAIMED = "claimed"

IDLE_CLAIM_SECONDS = 5.0
"""An idle worker claims this often without being woken: bounds what a lost wake-up can cost."""

REDIS_AWAY_SECONDS = 0.5
"""Pause between tries while Redis is away."""


class QueueBroker(Broker):
    """A queue of Penstock as dramatiq sees it: each shard is one of dramatiq's, with a consumer of its own.

    Args:
        queues: the shards, for claims and releases.
        waiting: the same, on connections of their own, whose socket time limit is above a second: they block.
    """

    def __init__(
        self,
        queues: Sequence[Queue],
        waiting: Sequence[Queue],
        settings: WorkerSettings,
        held: Held,
        beats: Beats,
        metrics: Metrics,
        breaker: Breaker,
    ) -> None:
        # An explicit list: dramatiq's default TimeLimit throws an exception into a thread in mid-upload, and Retries
        # would retry what the queue retries.
        super().__init__(middleware=[])
        self.queue_names = [of_shard(f"penstock.{settings.queue}", queue.shard) for queue in queues]
        self.shards = queues
        self.waiting = waiting
        self.settings = settings
        self.held = held
        self.beats = beats
        self.metrics = metrics
        self.breaker = breaker

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        return ClaimConsumer(self, self.queue_names.index(queue_name), timeout / 1000)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        raise NotImplementedError("writes come from penstock.Producer, not from dramatiq")  # pragma: no cover

    def finish(self, token: str) -> None:
        """Ends a claim: gives back what is unsettled, as far as Redis can be reached within the lease."""
        claim = self.held.get(token)
        if claim is None:
            return
        try:
            if not claim.settled and not claim.lost:
                with bound_contextvars(claim=token):
                    self._release(claim)
        finally:
            self.held.remove(token)

    def _release(self, claim: HeldClaim) -> None:
        try:
            given, superseded, dead = while_leased(claim, self.held)(
                self.shards[claim.shard].release,
                claim.batch.token,
                max_attempts=self.settings.max_attempts,
                sent=claim.end(),
            )
        except RetryError as error:
            # The sweeper of any worker takes the claim back when its lease is over.
            log.warning("release_failed", error=str(error.last_attempt.exception()))
            return
        self.metrics.writes("released", given)
        self.metrics.writes("superseded", superseded)
        self.metrics.writes("dead", dead)
        log.info("batch_released", released=given, superseded=superseded, dead=dead)


class ClaimConsumer(Consumer):
    """Claims a shard's batches when a worker thread is free and the byte budget allows; else sleeps, without polling.

    Redis's errors end here: dramatiq would answer one by closing the consumer and waiting three seconds, and a second
    one while it closes would end the thread for good.
    """

    def __init__(self, broker: QueueBroker, shard: int, timeout: float) -> None:
        self._broker = broker
        self._shard = shard
        self._queue = broker.shards[shard]
        self._timeout = timeout
        self._claimed: deque[HeldClaim] = deque()
        self._doubtful: list[str] = []
        self._due = 0.0
        self._away = False
        self._empties = False
        self._probe_due = 0.0
        self._log = ClaimLog()

    def __next__(self) -> MessageProxy | None:
        if not self._claimed:
            name_shard(self._shard, self._queue.count)
            self._broker.beats.beat(of_shard(CLAIM_DUTY, self._shard))
            try:
                self._fill()
            except redis.exceptions.DataError:
                raise  # an argument that redis-py cannot send: a bug of ours, which must not pass for an outage
            except redis.exceptions.RedisError as error:
                self._report(error)
                self._due = 0.0
                self._broker.held.stopping.wait(REDIS_AWAY_SECONDS)
        return self._message(self._claimed.popleft()) if self._claimed else None

    def _report(self, error: redis.exceptions.RedisError) -> None:
        """Says once that Redis is away, or that the queue is not one for this worker."""
        if not self._away:
            problem = translate(error, self._broker.settings.redis_url, maybe_accepted=False)
            remedy = "the worker goes on by itself when that has changed"
            if isinstance(problem, QueueMismatch):
                log.error("queue_mismatch", error=str(problem), remedy=remedy)
            else:
                log.error("redis_unavailable", error=str(problem), remedy=remedy)
        self._away = True

    def _fill(self) -> None:
        broker, held = self._broker, self._broker.held
        # A swept write waits for a process that holds nothing: no more is taken until all that is held has ended.
        if not self._empties and (held.wait_for_room(self._timeout)[0] == 0 or not self._sleep()):
            return
        room = held.take_room(self._shard, self._timeout, empty=self._empties, may_be_alone=not self._away)
        if room is None:
            return
        self._empties = False
        try:
            if held.unfit() is not None:  # last of all: the clock may have been set during the sleep
                held.stopping.wait(self._timeout)
                return
            budget, holds_none = room.budget, room.holds_none
            reply = self._claim(room)
            self._empties = reply.alone
            probed = bool(reply.suspended) and self._probe(room, holds_none=holds_none and not reply.batches)
        finally:
            held.give_back(room)
        if reply.batches or probed or self._empties:
            self._due = 0.0
        elif reply.wait is not None and not holds_none and budget < broker.settings.batch_max_bytes:
            # The next write may not fit the byte budget: what ends makes room, and no producer tells of that.
            held.wait_for_more_room(room.free, min(self._timeout, reply.wait or self._timeout))
        else:
            wait = IDLE_CLAIM_SECONDS if reply.wait is None else min(IDLE_CLAIM_SECONDS, reply.wait)
            self._due = time.monotonic() + wait
            if reply.suspended:
                self._due = min(self._due, self._probe_due)

    def _sleep(self) -> bool:
        """Until something is due or somebody wakes this consumer. False when neither is so yet."""
        pause = self._due - time.monotonic()
        if pause > 0:
            waiting = self._broker.waiting[self._shard]
            woken = waiting.wait_for_wake_up(max(0.01, min(self._timeout, pause)))
            if not woken and self._due > time.monotonic():
                return False
            self._due = 0.0  # its turn may come later only
        return True

    def _claim(self, room: Room) -> ClaimReply:
        broker, settings = self._broker, self._broker.settings
        while self._doubtful:  # claims whose answers were lost: nothing of them was sent
            self._queue.release(self._doubtful[-1], max_attempts=settings.max_attempts)
            self._doubtful.pop()
        tokens = broker.held.new_tokens(room.slots)
        # Measured from before the call: the lease in Redis begins no earlier (rule LEASE).
        deadline = boottime() + settings.lease_seconds
        try:
            reply = self._queue.claim(
                tokens,
                lease=settings.lease_seconds,
                max_items=settings.batch_max_items,
                max_bytes=settings.batch_max_bytes,
                max_wait=settings.batch_max_wait,
                budget=room.budget,
                holds_none=room.holds_none,
                skip=broker.breaker.skipped(),
            )
        except redis.exceptions.RedisError:
            self._doubtful += tokens
            raise
        broker.beats.beat(of_shard(CLAIMED, self._shard))
        if self._away:
            log.info("redis_back")
            self._away = False
        for batch in reply.batches:
            self._claimed.append(broker.held.add(batch, deadline, room=room))
            broker.metrics.claimed(batch, time.time())
        self._log.tell(reply)
        return reply

    def _probe(self, room: Room, *, holds_none: bool) -> bool:
        """Claims a write of a suspended bucket, if one is to be tried now, in what room a claim has left."""
        broker = self._broker
        if room.slots == 0 or any(batch.alone for batch in room.claimed) or time.monotonic() < self._probe_due:
            return False
        (token,) = broker.held.new_tokens(1)
        lease = broker.settings.lease_seconds
        deadline = boottime() + lease
        try:
            found = probe(
                self._queue,
                token,
                lease=lease,
                budget=room.budget,
                holds_none=holds_none,
                buckets=broker.settings.buckets(),
            )
        except redis.exceptions.RedisError:
            self._doubtful.append(token)
            raise
        self._probe_due = time.monotonic() + (IDLE_CLAIM_SECONDS if found.wait is None else found.wait)
        self._empties = self._empties or found.alone
        if found.batch is None:
            return False
        log.info("bucket_probed", bucket=found.bucket, claim=token)
        self._claimed.append(broker.held.add(found.batch, deadline, is_probe=True, room=room))
        broker.metrics.claimed(found.batch, time.time())
        return True

    def _message(self, claim: HeldClaim) -> MessageProxy:
        broker = self._broker
        return MessageProxy(
            dramatiq.Message(
                queue_name=broker.queue_names[self._shard],
                actor_name=ACTOR,
                args=(),
                kwargs={"claim": claim.batch.token},
                options={},
            )
        )

    def ack(self, message: MessageProxy) -> None:
        self._broker.finish(cast(str, message.kwargs["claim"]))

    def nack(self, message: MessageProxy) -> None:
        self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        for message in messages:
            self.ack(message)

    def close(self) -> None:
        """Gives back what was claimed and not handed out."""
        while self._claimed:
            self._broker.finish(self._claimed.popleft().batch.token)
