"""One batch: verify, compress, put, delete, settle."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from threading import Lock

from penstock.queue.client import Queue
from penstock.queue.record import Record
from penstock.queue.results import Claimed, Outcome, Settlement
from penstock_worker import compress, failures
from penstock_worker.held import Held, HeldClaim, LeaseLostError, StoppingError
from penstock_worker.metrics import Metrics
from penstock_worker.outcomes import Outcomes, Parts
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import ErrorClass, PutRequest, Store, StoreFault
from penstock_worker.stores.faults import BUCKET_NOT_ALLOWED, CHECKSUM_MISMATCH
from penstock_worker.sweeper import Sweeper

BODY_MISSING = "BodyMissing"
BAD_RECORD = "BadRecord"
DELETES_PER_REQUEST = 1000  # S3 API reference, "DeleteObjects"


@dataclass(frozen=True, slots=True)
class _Job:
    write: Claimed
    record: Record
    body: memoryview


class Uploader:
    """Carries out claimed batches. Safe to share between threads; a batch is one thread's.

    The writes of a batch upload in parallel on a pool that all batches share.
    """

    def __init__(
        self, queue: Queue, store: Store, settings: WorkerSettings, held: Held, metrics: Metrics, sweeper: Sweeper
    ) -> None:
        self._parts = Parts(queue, store, settings, held, metrics, sweeper, failures.Health())
        self._pool = ThreadPoolExecutor(settings.upload_concurrency, thread_name_prefix="penstock-upload")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(self, claim: HeldClaim) -> None:
        """Uploads and settles a batch. Whatever it leaves unsettled, ack gives back."""
        _Run(self._parts, self._pool, claim).run()


class _Run:
    """The state of one batch under way: results come in from several upload threads."""

    def __init__(self, parts: Parts, pool: ThreadPoolExecutor, claim: HeldClaim) -> None:
        self._parts = parts
        self._pool = pool
        self._claim = claim
        self._outcomes = Outcomes(claim, parts)
        self._lock = Lock()

    def run(self) -> None:
        batch = self._claim.batch
        puts, deletes = self._prepare(batch.writes)
        futures: list[Future[None]] = []
        jobs = iter(puts)
        for _ in range(min(len(puts), self._parts.settings.upload_concurrency)):
            futures.append(self._pool.submit(self._put_all, jobs))
        deletes.sort(key=lambda write: write.bucket)
        for bucket, group in groupby(deletes, key=lambda write: write.bucket):
            writes = list(group)
            for at in range(0, len(writes), DELETES_PER_REQUEST):
                futures.append(self._pool.submit(self._delete, bucket, writes[at : at + DELETES_PER_REQUEST]))
        wait(futures)
        self._outcomes.settle()
        for future in futures:
            future.result()  # a bug in a thread must be seen, after the others' results are safe

    # -- before S3 ----------------------------------------------------------------------------------------------

    def _prepare(self, writes: list[Claimed]) -> tuple[list[_Job], list[Claimed]]:
        """Reads the records and fetches large bodies; what cannot be sent is settled without S3."""
        jobs: list[_Job] = []
        deletes: list[Claimed] = []
        large: list[tuple[Claimed, Record]] = []
        for write in writes:
            if not self._parts.settings.allows(write.bucket):
                text = "the bucket is not in PENSTOCK_ALLOWED_BUCKETS"
                self._outcomes.failed(write, StoreFault(ErrorClass.ENVIRONMENT, BUCKET_NOT_ALLOWED, None, text))
                continue
            if write.is_delete:
                deletes.append(write)
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
            bodies = self._parts.queue.fetch_blobs([record.blob_id or "" for _, record in large])
            for (write, record), body in zip(large, bodies, strict=True):
                if body is None:
                    # A newer write took the name, and the queue answers "superseded"; or the body is really lost.
                    text = "the body is not in Redis"
                    self._outcomes.failed(write, StoreFault(ErrorClass.PERMANENT, BODY_MISSING, None, text))
                else:
                    jobs.append(_Job(write, record, memoryview(body)))
        return jobs, deletes

    # -- S3 -----------------------------------------------------------------------------------------------------

    def _put_all(self, jobs: Iterator[_Job]) -> None:
        """Takes one write after the other from the batch until none is left; several threads do."""
        while True:
            with self._lock:
                job = next(jobs, None)
            if job is None:
                return
            try:
                self._put(job)
            except Exception as error:  # noqa: BLE001 - counted: a write that meets a bug must not come back for ever
                self._outcomes.failed(job.write, failures.crash(error))

    def _put(self, job: _Job) -> None:
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

        began = time.perf_counter()
        try:
            self._parts.store.put(request, check)
        except LeaseLostError:
            self._outcomes.lose(1)
        except StoppingError:
            self._outcomes.add(Settlement(write.name, Outcome.NEVER_SENT))
        except StoreFault as fault:
            self._parts.metrics.request("put", time.perf_counter() - began, fault)
            self._parts.health.record(write.bucket, fault.error_class is ErrorClass.PERMANENT)
            self._outcomes.failed(write, fault)
        else:
            self._parts.metrics.request("put", time.perf_counter() - began, None)
            self._parts.health.record(write.bucket, True)
            self._outcomes.stored(write, len(job.body), len(encoded.body))

    def _delete(self, bucket: str, writes: list[Claimed]) -> None:
        by_key = {write.key: write for write in writes}

        def check() -> None:
            self._may_send(writes)

        began = time.perf_counter()
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
            self._parts.metrics.request("delete", time.perf_counter() - began, fault)
        except Exception as error:  # noqa: BLE001 - as in _put_all
            faults = dict.fromkeys(by_key, failures.crash(error))
        else:
            self._parts.metrics.request("delete", time.perf_counter() - began, None)
            for one in faults.values():
                self._parts.metrics.error("delete", one)
        broken = any(one.error_class is not ErrorClass.PERMANENT for one in faults.values())
        self._parts.health.record(bucket, not broken)
        for key, write in by_key.items():
            if key in faults:
                self._outcomes.failed(write, faults[key])
            else:
                self._outcomes.add(Settlement(write.name, Outcome.STORED))

    def _may_send(self, writes: tuple[Claimed, ...] | list[Claimed]) -> None:
        """Called right before a request is sent (rules LEASE and PIN); from here on the writes may reach S3 (REL)."""
        if self._parts.held.aborting.is_set() or self._parts.held.unfit() is not None:
            raise StoppingError
        self._claim.may_send([write.name for write in writes])
