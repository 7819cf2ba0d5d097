"""One batch: verify, compress, put, delete, settle."""

from __future__ import annotations

import hashlib
import math
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Condition

from structlog.contextvars import bound_contextvars

from penstock.queue.client import Queue
from penstock.queue.record import Record
from penstock.queue.results import Claimed, Outcome, Settlement
from penstock_worker import compress, failures
from penstock_worker.breaker import Breaker
from penstock_worker.held import Held, HeldClaim, LeaseLostError, StoppingError
from penstock_worker.metrics import Metrics
from penstock_worker.outcomes import Outcomes, Parts
from penstock_worker.overtaken import is_overtaken
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import ErrorClass, PutRequest, Store, StoreFault
from penstock_worker.stores.faults import BUCKET_NOT_ALLOWED, CHECKSUM_MISMATCH
from penstock_worker.sweeper import Sweeper
from penstock_worker.turns import Job, Turns

BODY_MISSING = "BodyMissing"
BAD_RECORD = "BadRecord"
DELETES_PER_REQUEST = 1000  # S3 API reference, "DeleteObjects"

LEAST_BATCHES = 4
"""Batches held at once: while one settles, the others upload."""
MOST_BATCHES = 12
"""As many batches of 25 as are needed to have 128 requests under way all the time."""


@dataclass(frozen=True, slots=True)
class _Job:
    write: Claimed
    record: Record
    body: memoryview


class Uploader:
    """Carries out claimed batches. Safe to share between threads; a batch is one thread's.

    The writes of a batch upload in parallel, in turn with those of other batches to the same bucket.
    """

    def __init__(
        self,
        shards: Sequence[Queue],
        store: Store,
        settings: WorkerSettings,
        held: Held,
        metrics: Metrics,
        sweepers: Sequence[Sweeper],
        breaker: Breaker,
        health: failures.Health,
    ) -> None:
        self.turns = Turns(settings.upload_concurrency, settings.upload_concurrency_max, held.aborting)
        self._parts = Parts(shards, store, settings, held, metrics, sweepers, health, breaker, self.turns)

    def close(self) -> None:
        self.turns.close()

    def run(self, claim: HeldClaim) -> None:
        """Uploads and settles a batch. Whatever it leaves unsettled, ack gives back."""
        with bound_contextvars(claim=claim.batch.token):
            _Run(self._parts, claim).run()


class _Run:
    """The state of one batch under way: results come in from several upload threads."""

    def __init__(self, parts: Parts, claim: HeldClaim) -> None:
        self._parts = parts
        self._claim = claim
        self._outcomes = Outcomes(claim, parts)
        self._left = 0
        self._ended = Condition()
        self._bugs: list[Exception] = []

    def run(self) -> None:
        jobs: dict[str, list[Job]] = defaultdict(list)
        puts, deletes = self._prepare(self._claim.batch.writes)
        for put in puts:
            jobs[put.write.bucket].append(partial(self._do, partial(self._put, put)))
        for bucket, every in deletes.items():
            looked_at = [write for write in every if write.seq < self._claim.batch.epoch]  # each by itself (EPOCH)
            jobs[bucket] += [partial(self._do, partial(self._look_and_delete, write)) for write in looked_at]
            writes = [write for write in every if write.seq >= self._claim.batch.epoch]
            for at in range(0, len(writes), DELETES_PER_REQUEST):
                step = writes[at : at + DELETES_PER_REQUEST]
                jobs[bucket].append(partial(self._do, partial(self._delete, bucket, step)))
        self._left = sum(map(len, jobs.values()))
        for bucket, of_bucket in jobs.items():
            self._parts.turns.submit(bucket, of_bucket)
        self._parts.held.resize(self._batches())
        with self._ended:
            self._ended.wait_for(lambda: self._left == 0)  # each request has its time limit
        self._outcomes.settle()
        for bug in self._bugs:
            raise bug  # it must be seen, after the others' results are safe

    def _batches(self) -> int:
        """Batches to hold at once: while one half of their writes is under way, the others are claimed or settled."""
        wanted = math.ceil(2 * self._parts.turns.in_use() / self._parts.settings.batch_max_items)
        return min(max(LEAST_BATCHES, wanted), MOST_BATCHES)

    def _do(self, request: Callable[[], None]) -> None:
        """One request, on a thread of `Turns`, whose log lines do not know the claim of themselves."""
        try:
            with bound_contextvars(claim=self._claim.batch.token):
                request()
        except Exception as error:  # noqa: BLE001 - raised again by run
            self._bugs.append(error)
        finally:
            with self._ended:
                self._left -= 1
                if self._left == 0:
                    self._ended.notify_all()

    # -- before S3 ----------------------------------------------------------------------------------------------

    def _prepare(self, writes: list[Claimed]) -> tuple[list[_Job], dict[str, list[Claimed]]]:
        """Reads the records and fetches large bodies; what cannot be sent is settled without S3."""
        jobs: list[_Job] = []
        deletes: dict[str, list[Claimed]] = defaultdict(list)
        large: list[tuple[Claimed, Record]] = []
        for write in writes:
            if not self._parts.settings.allows(write.bucket):
                text = "the bucket is not in PENSTOCK_ALLOWED_BUCKETS"
                self._outcomes.failed(write, StoreFault(ErrorClass.ENVIRONMENT, BUCKET_NOT_ALLOWED, None, text))
                continue
            if write.is_delete:
                deletes[write.bucket].append(write)
                continue
            try:
                record = write.record()
            except (ValueError, IndexError, struct.error) as error:
                self._outcomes.failed(
                    write, StoreFault(ErrorClass.PERMANENT, BAD_RECORD, None, f"unreadable record: {error}")
                )
                continue
            if record.body is not None:
                jobs.append(_Job(write, record, record.body))
            else:
                large.append((write, record))
        if large:
            bodies = self._parts.shards[self._claim.shard].fetch_blobs([record.blob_id or "" for _, record in large])
            for (write, record), body in zip(large, bodies, strict=True):
                if body is None:
                    # A newer write took the name, and the queue answers "superseded"; or the body is really lost.
                    text = "the body is not in Redis"
                    self._outcomes.failed(write, StoreFault(ErrorClass.PERMANENT, BODY_MISSING, None, text))
                else:
                    jobs.append(_Job(write, record, memoryview(body)))
        return jobs, deletes

    # -- S3 -----------------------------------------------------------------------------------------------------

    def _put(self, job: _Job) -> None:
        try:
            if not self._is_overtaken(job.write):
                self._try_put(job)
        except Exception as error:  # noqa: BLE001 - counted: a write that meets a bug must not come back for ever
            self._outcomes.failed(job.write, failures.crash(error))

    def _try_put(self, job: _Job) -> None:
        write, record = job.write, job.record
        if hashlib.sha256(job.body).digest() != record.sha256:
            text = "the body changed in the queue"
            self._outcomes.failed(write, StoreFault(ErrorClass.PERMANENT, CHECKSUM_MISMATCH, None, text))
            return
        header = record.header
        encoded = compress.encode(job.body, header.content_type, header.compression)
        request = PutRequest(
            bucket=write.bucket,
            key=write.key,
            body=encoded.body,
            content_type=header.content_type,
            cache_control=header.cache_control,
            content_disposition=header.content_disposition,
            content_encoding=encoded.encoding,
            storage_class=header.storage_class,
            tags=header.tags,
            metadata={"penstock-seq": str(write.seq), "penstock-sha256": record.sha256.hex(), **header.metadata},
        )

        def check() -> None:
            self._may_send((write,))

        began = time.monotonic()
        try:
            self._parts.store.put(request, check)
        except LeaseLostError:
            self._outcomes.lose(1)
        except StoppingError:
            self._outcomes.add(Settlement(write.name, Outcome.NEVER_SENT))
        except StoreFault as fault:
            self._parts.metrics.request("put", time.monotonic() - began, fault)
            self._parts.turns.record(write.bucket, began, len(encoded.body), fault)
            self._answered(write.bucket, [fault])
            self._outcomes.failed(write, fault)
        else:
            self._parts.metrics.request("put", time.monotonic() - began, None)
            self._parts.turns.record(write.bucket, began, len(encoded.body), None)
            self._answered(write.bucket, [])
            self._outcomes.stored(write, len(job.body), len(encoded.body))

    def _is_overtaken(self, write: Claimed) -> bool:
        return is_overtaken(write, self._claim, self._parts, self._outcomes)

    def _look_and_delete(self, write: Claimed) -> None:
        try:
            overtaken = self._is_overtaken(write)
        except Exception as error:  # noqa: BLE001 - as in _put
            self._outcomes.failed(write, failures.crash(error))
            return
        if not overtaken:
            self._delete(write.bucket, [write])

    def _delete(self, bucket: str, writes: list[Claimed]) -> None:
        by_key = {write.key: write for write in writes}

        def check() -> None:
            self._may_send(writes)

        began = time.monotonic()
        try:
            faults = self._parts.store.delete_many(bucket, list(by_key), check)
        except LeaseLostError:
            self._outcomes.lose(len(writes))
            return
        except StoppingError:
            for write in writes:
                # Keys that went out one by one may have been sent before the stop (rule REL).
                sent = write.name in self._claim.sent
                self._outcomes.add(Settlement(write.name, Outcome.MAYBE_SENT if sent else Outcome.NEVER_SENT))
            return
        except StoreFault as fault:
            faults = dict.fromkeys(by_key, fault)
            self._parts.metrics.request("delete", time.monotonic() - began, fault)
            self._parts.turns.record(bucket, began, None, fault)
        except Exception as error:  # noqa: BLE001 - as in _put
            faults = dict.fromkeys(by_key, failures.crash(error))
        else:
            self._parts.metrics.request("delete", time.monotonic() - began, None)
            self._parts.turns.record(bucket, began, None, next(iter(faults.values()), None))
            for one in faults.values():
                self._parts.metrics.error("delete", one)
        self._parts.metrics.deletes_failed(len(faults))
        self._answered(bucket, faults.values())
        for key, write in by_key.items():
            if key in faults:
                self._outcomes.failed(write, faults[key])
            else:
                self._outcomes.add(Settlement(write.name, Outcome.STORED))

    def _may_send(self, writes: tuple[Claimed, ...] | list[Claimed]) -> None:
        """Called right before a request is sent (rules LEASE and PIN); from here on the writes may reach S3 (REL)."""
        bucket, claim = writes[0].bucket, self._claim
        if self._parts.stops(bucket, claim):
            raise StoppingError
        try:
            claim.may_send([write.name for write in writes])
        except (LeaseLostError, StoppingError):
            self._parts.breaker.gave_up(bucket)
            raise

    def _answered(self, bucket: str, faults: Collection[StoreFault]) -> None:
        """Before the outcome is noted, which depends on what this makes of the bucket."""
        self._parts.breaker.answered(bucket, faults, is_probe=self._claim.is_probe)
