"""What became of a batch's writes: collected from the upload threads, told to the queue in one call."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import structlog
from tenacity import RetryError

from penstock.queue.client import Queue
from penstock.queue.results import Claimed, Outcome, Settled, Settlement
from penstock_worker import failures, logs
from penstock_worker.breaker import Breaker
from penstock_worker.held import Held, HeldClaim, boottime
from penstock_worker.home_cpu import HomeCpu
from penstock_worker.metrics import WRITE_OUTCOMES, Metrics
from penstock_worker.retrying import while_leased
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import Store, StoreFault
from penstock_worker.sweeper import Sweeper
from penstock_worker.turns import Turns

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What all batches of a process share. Of shards and sweepers there is one each."""

    shards: Sequence[Queue]
    store: Store
    settings: WorkerSettings
    held: Held
    metrics: Metrics
    sweepers: Sequence[Sweeper]
    health: failures.Health
    breaker: Breaker
    turns: Turns
    home_cpu: HomeCpu

    def stops(self, bucket: str, claim: HeldClaim, *, is_begun: bool = False) -> bool:
        """Whether no request of the claim may go out now; else the end of one is told to the breaker."""
        if self.held.aborting.is_set() or self.held.unfit() is not None:
            return True
        return not self.breaker.lets(bucket, claim.claimed_at, is_probe=claim.is_probe, is_begun=is_begun)


def _traceparent(write: Claimed) -> str | None:
    try:
        return write.record().header.traceparent
    except (ValueError, IndexError, struct.error):  # unreadable, as it was for the upload
        return None


class Outcomes:
    """The outcomes of one batch. Safe to share between threads, but `settle` is called once, after all others."""

    def __init__(self, claim: HeldClaim, parts: Parts) -> None:
        self._claim = claim
        self._parts = parts
        self._settlements: list[Settlement] = []
        # Appended to by all threads, which needs no lock; added up once by `settle`.
        self._stored: list[tuple[Claimed, float, int, int]] = []
        self._lost = 0
        self._began = boottime()
        self._lock = Lock()

    def add(self, settlement: Settlement) -> None:
        with self._lock:
            self._settlements.append(settlement)

    def stored(self, write: Claimed, seconds: float, body_bytes: int, stored_bytes: int) -> None:
        """A put has succeeded; its body as given and as sent had so many bytes."""
        self._stored.append((write, seconds, body_bytes, stored_bytes))

    def lose(self, count: int) -> None:
        """So many writes were not sent, because the lease was over."""
        with self._lock:
            self._lost += count

    def failed(self, write: Claimed, fault: StoreFault) -> None:
        outage = self._parts.health.is_out(write.bucket)
        # A probe's bucket is suspended, whether this worker has seen it fail before or not.
        suspended = self._claim.is_probe or self._parts.breaker.is_open(write.bucket)
        one = failures.settlement(write.name, write.attempts, fault, outage, suspended)
        self.add(one)
        is_last = one.counted and write.attempts >= self._parts.settings.max_attempts
        log.warning(
            "write_failed",
            bucket=write.bucket,
            key=write.key,
            seq=write.seq,
            traceparent=_traceparent(write),
            attempt=write.attempts,
            counted=one.counted,
            retry_in=None if is_last or one.outcome is Outcome.DEAD else round(one.delay, 2),
            error_class=fault.error_class.value,
            code=fault.code,
            http_status=fault.http_status,
            message=fault.message,
        )

    def settle(self) -> None:
        """Tells the queue, as long as the lease lives: Redis may be away for a moment."""
        claim, parts = self._claim, self._parts
        uploaded = boottime()
        self._settlements += [Settlement(write.name, Outcome.STORED) for write, _, _, _ in self._stored]
        body_bytes = sum([given for _, _, given, _ in self._stored])
        stored_bytes = sum([sent for _, _, _, sent in self._stored])
        parts.metrics.puts_stored([seconds for _, seconds, _, _ in self._stored])
        settled: list[Settled] = []
        trying = while_leased(claim, parts.held)
        if self._settlements:
            try:
                settled = trying(
                    parts.shards[claim.shard].settle,
                    claim.batch.token,
                    self._settlements,
                    max_attempts=parts.settings.max_attempts,
                )
            except RetryError as error:
                log.error(
                    "settle_failed",
                    writes=len(self._settlements),
                    error=str(error.last_attempt.exception()),
                    remedy="the writes are uploaded again when their lease is over",
                )
        claim.settled = len(settled) == len(claim.batch.writes)
        if settled and trying.statistics["attempt_number"] > 1:
            settled = self._leave_out_doubtful(settled)
        delays = [
            one.delay
            for one, answer in zip(self._settlements, settled, strict=False)  # empty when Redis could not be told
            if answer is Settled.DELAYED
        ]
        if delays:
            parts.sweepers[claim.shard].wake(min(delays))  # now that the queue knows them, not before
        if logs.shows("debug"):
            self._tell_stored(settled)
        ended, now = boottime(), time.time()
        tally = parts.metrics.settled(
            claim, self._settlements, settled, self._lost, body_bytes, stored_bytes, ended, now
        )
        oldest = min([write.since for write in claim.batch.writes]) / 1e6
        log.info(
            "batch",
            writes=len(claim.batch.writes),
            **{outcome: tally[outcome] for outcome in WRITE_OUTCOMES},
            unsettled=len(claim.batch.writes) - tally.total(),
            bytes_in=body_bytes,
            bytes_out=stored_bytes,
            waiting_seconds=round(max(0.0, now - (ended - claim.claimed_at) - oldest), 4),
            upload_seconds=round(uploaded - self._began, 4),
            settle_seconds=round(ended - uploaded, 4),
            seconds=round(ended - claim.claimed_at, 4),
        )

    def _leave_out_doubtful(self, settled: list[Settled]) -> list[Settled]:
        """Of a call that was sent again, a claim no longer held says nothing: mostly the first one has ended it."""
        told = [pair for pair in zip(self._settlements, settled, strict=True) if pair[1] is not Settled.LEASE_LOST]
        self._settlements = [settlement for settlement, _ in told]
        return [answer for _, answer in told]

    def _tell_stored(self, settled: list[Settled]) -> None:
        """One line a write, for who looks for one; as many as that are for nobody's every day."""
        writes = {write.name: write for write in self._claim.batch.writes}
        now = time.time()
        for one, answer in zip(self._settlements, settled, strict=False):
            if answer in (Settled.STORED, Settled.REPAIRED):
                write = writes[one.name]
                log.debug(
                    "write_stored",
                    bucket=write.bucket,
                    key=write.key,
                    seq=write.seq,
                    traceparent=_traceparent(write),
                    operation="delete" if write.is_delete else "put",
                    seconds=round(max(0.0, now - write.since / 1e6), 3),
                )
