"""dramatiq's Consumer over a shard of the write queue: when it claims, and in what room."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import dramatiq
import redis
import structlog
from dramatiq.broker import Consumer, MessageProxy

from penstock.errors import QueueMismatch
from penstock.queue.connection import translate
from penstock.queue.results import ClaimReply
from penstock.queue.suspension import probe
from penstock_worker.beats import of_shard
from penstock_worker.claim_log import ClaimLog
from penstock_worker.held import HeldClaim, Room, boottime
from penstock_worker.logs import name_shard

if TYPE_CHECKING:
    from penstock_worker.broker import QueueBroker

log = structlog.get_logger()

ACTOR = "upload_batch"
CLAIM_DUTY = "claim"
CLAIMED = "claimed"

IDLE_CLAIM_SECONDS = 5.0
"""An idle worker claims this often without being woken: bounds what a lost wake-up can cost."""

CRITICAL_LOOK_SECONDS = 0.005
"""While only the slot for critical writes is free, this often a look for one: a small read, 15 µs of Redis's time."""

CRITICAL_VAIN_SECONDS = 0.05
"""Until the next look when what it found could not be claimed: the queue is paused, or its bucket is skipped."""

STOPPED_SECONDS = 0.05
"""Between two calls of a consumer that claims nothing any more."""

REDIS_AWAY_SECONDS = 0.5
"""Pause between tries while Redis is away."""


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
        self._needs = 0
        self._suspended = False
        self._probe_due = 0.0
        self._look_due = 0.0
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
                self._due, self._needs = 0.0, 0
                self._broker.held.forget(self._shard)  # other shards' Redis may be there
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
        held = self._broker.held
        if held.stopping.is_set():
            if held.aborting.wait(self._timeout):  # nothing is claimed any more
                time.sleep(STOPPED_SECONDS)
            return
        # A swept write waits for a process that holds nothing: no more is taken until all that is held has ended.
        if not self._empties and held.wait_for_room(min(self._timeout, CRITICAL_LOOK_SECONDS))[0] == 0:
            self._fill_critical()
            return
        if not self._empties and not self._needs and not self._sleep():
            return
        # Others may have been quicker: then critical writes can still be looked for.
        timeout = self._timeout if self._empties else min(self._timeout, CRITICAL_LOOK_SECONDS)
        room = held.take_room(self._shard, timeout, empty=self._empties, needs=self._needs, may_be_alone=not self._away)
        if room is None:
            if not self._empties:
                self._fill_critical()
            return
        self._empties, self._needs = False, 0
        try:
            if held.unfit() is not None:  # last of all: the clock may have been set during the sleep
                held.stopping.wait(self._timeout)
                return
            # First, since a claim takes all the room there is, for as long as other buckets have a backlog.
            probed = self._suspended and self._probe(room)
            if room.slots and not any(batch.alone for batch in room.claimed):
                self._plan(self._claim(room))
        finally:
            held.give_back(room)
        if probed or room.claimed or self._empties or self._needs:
            self._due = 0.0
        elif self._suspended:
            self._due = min(self._due, self._probe_due)

    def _plan(self, reply: ClaimReply) -> None:
        """What the next claim is for, and when it is due if this one brought nothing."""
        self._suspended = reply.suspended > 0
        self._wants(alone=reply.alone, needs=reply.needs)
        wait = IDLE_CLAIM_SECONDS if reply.wait is None else min(IDLE_CLAIM_SECONDS, reply.wait)
        self._due = time.monotonic() + wait

    def _wants(self, *, alone: bool, needs: int) -> None:
        """A write whose turn it is waits for room: nothing else is claimed before, or it might wait for ever."""
        self._empties = self._empties or alone or needs > self._broker.settings.memory_budget
        self._needs = 0 if self._empties else max(self._needs, needs)

    def _fill_critical(self) -> None:
        """Only the slot for critical writes may be free: claims some, if a look finds any.

        It leaves alone what ordinary claims go by: nobody was woken for it, and it knows only of critical writes.
        """
        held = self._broker.held
        if time.monotonic() < self._look_due or not held.has_critical_room() or not self._queue.any_critical():
            return
        room = held.take_critical_room(self._shard)
        if room is None:
            return
        try:
            if held.unfit() is None:
                self._claim(room)
        finally:
            held.give_back(room)
        if not self._claimed:
            self._look_due = time.monotonic() + CRITICAL_VAIN_SECONDS

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
                holds_none=room.holds_none and not room.claimed,
                skip=broker.breaker.skipped(),
                only_critical=room.critical,
            )
        except redis.exceptions.RedisError:
            self._doubtful += tokens
            raise
        broker.beats.beat(of_shard(CLAIMED, self._shard))
        for batch in reply.batches:
            self._claimed.append(broker.held.add(batch, deadline, room=room))
            broker.metrics.claimed(batch, time.time())
        if self._away:
            log.info("redis_back")
            self._away = False
        self._log.tell(reply)
        return reply

    def _probe(self, room: Room) -> bool:
        """Claims a write of a suspended bucket, if one is to be tried now."""
        broker = self._broker
        if time.monotonic() < self._probe_due:
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
                holds_none=room.holds_none,
                buckets=broker.settings.buckets(),
            )
        except redis.exceptions.RedisError:
            self._doubtful.append(token)
            raise
        self._wants(alone=found.alone, needs=found.needs)
        wait = IDLE_CLAIM_SECONDS if found.wait is None else found.wait
        self._probe_due = 0.0 if self._empties or self._needs else time.monotonic() + wait
        if found.batch is None:
            return False
        self._claimed.append(broker.held.add(found.batch, deadline, is_probe=True, room=room))
        log.info("bucket_probed", bucket=found.bucket, claim=token)
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
        """Gives back what was claimed and not handed out, or may have been: by a claim whose answer was lost."""
        while self._claimed:
            self._broker.finish(self._claimed.popleft().batch.token)
        # One try, which ends with the first that fails: a stop must not wait for a Redis that hangs once a token, and
        # any worker's sweeper takes them back when their lease is over.
        with suppress(redis.exceptions.RedisError):
            for token in list(self._doubtful):  # its thread may be in a call still
                self._queue.release(token, max_attempts=self._broker.settings.max_attempts)
