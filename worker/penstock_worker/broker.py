"""dramatiq's Broker and Consumer over the write queue: one dramatiq message is one claimed batch.

dramatiq brings worker threads, middleware and life cycle; claims, leases, retries and order are the queue's. So a
message carries only a claim's token, nothing is ever enqueued through dramatiq, and ack means: give back whatever of
the claim is not settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dramatiq
import structlog
from dramatiq.broker import Broker, Consumer
from dramatiq.errors import QueueNotFound
from structlog.contextvars import bound_contextvars
from tenacity import RetryError

from penstock.queue.client import Queue
from penstock_worker.beats import Beats, of_shard
from penstock_worker.breaker import Breaker
from penstock_worker.consumer import ClaimConsumer
from penstock_worker.held import Held, HeldClaim
from penstock_worker.metrics import Metrics
from penstock_worker.retrying import while_leased
from penstock_worker.settings import WorkerSettings

log = structlog.get_logger()


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
