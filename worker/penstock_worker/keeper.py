"""The lease keeper: renews every claim this process holds of a shard, queued or running."""

from __future__ import annotations

import threading

import redis
import structlog

from penstock.queue.client import Queue
from penstock_worker import logs
from penstock_worker.beats import Beats, of_shard
from penstock_worker.held import Held, boottime

log = structlog.get_logger()

DUTY = "keeper"
RENEWALS_PER_LEASE = 3
RETRIES_PER_INTERVAL = 10
"""How soon a renewal that failed is tried again: by default after half a second. Each that waited for a whole interval
would leave two tries only, and the third would come when the lease has just ended."""
MAX_CLAIM_AGE = 900.0
"""Seconds after which a claim is not renewed any more (rule CAP): above what the largest body may take, 16 MiB at
1 MiB/s and a batch of it behind others, and below the guard's window."""


class Keeper(threading.Thread):
    """Renews at a third of the lease, and again soon after a failure, until one succeeds or the lease is over.

    One for each shard, because a server that hangs must not cost the claims of others their leases.
    """

    def __init__(self, queue: Queue, held: Held, beats: Beats, lease: float, max_age: float = MAX_CLAIM_AGE) -> None:
        super().__init__(name=of_shard("penstock-keeper", queue.shard), daemon=True)
        self._queue = queue
        self._duty = of_shard(DUTY, queue.shard)
        self._held = held
        self._beats = beats
        self._lease = lease
        self._max_age = max_age
        self._ended = threading.Event()
        self._failing = False

    def run(self) -> None:
        logs.name_shard(self._queue.shard, self._queue.count)
        interval = self._lease / RENEWALS_PER_LEASE
        self._beats.expect(self._duty, 2 * interval + 10)
        pause = interval
        while not self._ended.wait(pause):
            began = boottime()
            # From the beginning: a slow answer must not put the next renewal off.
            next_at = began + interval if self.renew() else boottime() + interval / RETRIES_PER_INTERVAL
            pause = max(0.0, next_at - boottime())
            self._beats.beat(self._duty)

    def renew(self) -> bool:
        """One call for all that is held of the shard. False when Redis did not answer: to be tried again soon."""
        claims = [claim for claim in self._held.all() if claim.shard == self._queue.shard and not claim.lost]
        before = boottime()
        for claim in claims:
            # Whether others have taken it back, and stored something newer, a Redis that lost its last steps may not
            # know any more (LOSS): what ran out once is over.
            claim.lost = claim.lost or before >= claim.deadline
        claims = [claim for claim in claims if not claim.lost]
        if not claims:
            return True
        try:
            answers = self._queue.renew(
                [claim.batch.token for claim in claims], lease=self._lease, max_age=self._max_age
            )
        except redis.exceptions.RedisError as error:
            if not self._failing:  # once: it is tried again soon, and the claim loop tells when Redis is back
                log.warning("renewal_failed", claims=len(claims), error=str(error))
            self._failing = True
            return False
        self._failing = False
        for claim, answer in zip(claims, answers, strict=True):
            if answer == "1":
                claim.deadline = before + self._lease
            elif answer == "0" and not claim.settled:
                # Settled in between, or taken back by a sweeper: in both cases nothing more may be sent.
                claim.lost = True
            elif answer == "c":
                log.warning("claim_too_old", claim=claim.batch.token, seconds=self._max_age)
        return True

    def stop(self) -> None:
        self._ended.set()
