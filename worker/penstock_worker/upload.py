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

import structlog
from tenacity import RetryError

from penstock.queue.client import Queue
from penstock.queue.record import Record
from penstock.queue.results import Claimed, Outcome, Settled, Settlement
from penstock_worker import compress, failures
from penstock_worker.held import Held, HeldClaim, LeaseLostError, StoppingError, boottime
from penstock_worker.metrics import Metrics
from penstock_worker.retrying import while_leased
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import ErrorClass, PutRequest, Store, StoreFault
from penstock_worker.stores.faults import BUCKET_NOT_ALLOWED, CHECKSUM_MISMATCH
from penstock_worker.sweeper import Sweeper

log = structlog.get_logger()

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
        self._queue = queue
        self._store = store
        self._settings = settings
        self._held = held
        self._metrics = metrics
        self._sweeper = sweeper
        self._health = failures.Health()
        self._pool = ThreadPoolExecutor(settings.upload_concurrency, thread_name_prefix="penstock-upload")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(self, claim: HeldClaim) -> None:
        """Uploads and settles a batch. Whatever it leaves unsettled, ack gives back."""
        _Run(self, claim).run()


class _Run:
    """The state of one batch under way: results come in from several upload threads."""

    def __init__(self, uploader: Uploader, claim: HeldClaim) -> None:
        self._up = uploader
        self._claim = claim
        self._settlements: list[Settlement] = []
        self._stored_bytes = 0
        self._body_bytes = 0
        self._lost = 0
        self._lock = Lock()

    def run(self) -> None:
        batch = self._claim.batch
        puts, deletes = self._prepare(batch.writes)
        futures: list[Future[None]] = []
        pool = self._up._pool
        jobs = iter(puts)
        for _ in range(min(len(puts), self._up._settings.upload_concurrency)):
            futures.append(pool.submit(self._put_all, jobs))
        deletes.sort(key=lambda write: write.bucket)
        for bucket, group in groupby(deletes, key=lambda write: write.bucket):
            writes = list(group)
            for at in range(0, len(writes), DELETES_PER_REQUEST):
                futures.append(pool.submit(self._delete, bucket, writes[at : at + DELETES_PER_REQUEST]))
        wait(futures)
        self._settle()
        for future in futures:
            future.result()  # a bug in a thread must be seen, after the others' results are safe

    # -- before S3 ----------------------------------------------------------------------------------------------

    def _prepare(self, writes: list[Claimed]) -> tuple[list[_Job], list[Claimed]]:
        """Reads the records and fetches large bodies; what cannot be sent is settled without S3."""
        jobs: list[_Job] = []
        deletes: list[Claimed] = []
        large: list[tuple[Claimed, Record]] = []
        for write in writes:
            if not self._up._settings.allows(write.bucket):
                text = "the bucket is not in PENSTOCK_ALLOWED_BUCKETS"
                self._failed(write, StoreFault(ErrorClass.ENVIRONMENT, BUCKET_NOT_ALLOWED, None, text))
                continue
            if write.is_delete:
                deletes.append(write)
                continue
            try:
                record = write.record()
            except (ValueError, IndexError, struct.error) as error:
                self._failed(write, StoreFault(ErrorClass.PERMANENT, BAD_RECORD, None, f"unreadable record: {error}"))
                continue
            if record.body is not None:
                jobs.append(_Job(write, record, record.body))
            else:
                large.append((write, record))
        if large:
            bodies = self._up._queue.fetch_blobs([record.blob_id or "" for _, record in large])
            for (write, record), body in zip(large, bodies, strict=True):
                if body is None:
                    # A newer write took the name, and the queue answers "superseded"; or the body is really lost.
                    text = "the body is not in Redis"
                    self._failed(write, StoreFault(ErrorClass.PERMANENT, BODY_MISSING, None, text))
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
                self._failed(job.write, failures.crash(error))

    def _put(self, job: _Job) -> None:
        write, record = job.write, job.record
        if hashlib.sha256(job.body).digest() != record.sha256:
            text = "the body changed in the queue"
            self._failed(write, StoreFault(ErrorClass.PERMANENT, CHECKSUM_MISMATCH, None, text))
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
            self._up._store.put(request, check)
        except LeaseLostError:
            self._lose(1)
        except StoppingError:
            self._add(Settlement(write.name, Outcome.NEVER_SENT))
        except StoreFault as fault:
            self._up._metrics.request("put", time.perf_counter() - began, fault)
            self._up._health.record(write.bucket, fault.error_class is ErrorClass.PERMANENT)
            self._failed(write, fault)
        else:
            self._up._metrics.request("put", time.perf_counter() - began, None)
            self._up._health.record(write.bucket, True)
            with self._lock:
                self._settlements.append(Settlement(write.name, Outcome.STORED))
                self._body_bytes += len(job.body)
                self._stored_bytes += len(encoded.body)

    def _delete(self, bucket: str, writes: list[Claimed]) -> None:
        by_key = {write.key: write for write in writes}

        def check() -> None:
            self._may_send(writes)

        began = time.perf_counter()
        try:
            faults = self._up._store.delete_many(bucket, list(by_key), check)
        except LeaseLostError:
            self._lose(len(writes))
            return
        except StoppingError:
            for write in writes:
                # Keys that went out one by one may have been sent before the stop (rule REL).
                sent = write.name in self._claim.sent
                self._add(Settlement(write.name, Outcome.MAYBE_SENT if sent else Outcome.NEVER_SENT))
            return
        except StoreFault as fault:
            faults = dict.fromkeys(by_key, fault)
            self._up._metrics.request("delete", time.perf_counter() - began, fault)
        except Exception as error:  # noqa: BLE001 - as in _put_all
            faults = dict.fromkeys(by_key, failures.crash(error))
        else:
            self._up._metrics.request("delete", time.perf_counter() - began, None)
            for one in faults.values():
                self._up._metrics.error("delete", one)
        broken = any(one.error_class is not ErrorClass.PERMANENT for one in faults.values())
        self._up._health.record(bucket, not broken)
        for key, write in by_key.items():
            if key in faults:
                self._failed(write, faults[key])
            else:
                self._add(Settlement(write.name, Outcome.STORED))

    def _may_send(self, writes: tuple[Claimed, ...] | list[Claimed]) -> None:
        """Called right before a request is sent (rules LEASE and PIN); from here on the writes may reach S3 (REL)."""
        if self._up._held.aborting.is_set() or self._up._held.unfit() is not None:
            raise StoppingError
        self._claim.may_send([write.name for write in writes])

    # -- outcomes -----------------------------------------------------------------------------------------------

    def _add(self, settlement: Settlement) -> None:
        with self._lock:
            self._settlements.append(settlement)

    def _lose(self, count: int) -> None:
        with self._lock:
            self._lost += count

    def _failed(self, write: Claimed, fault: StoreFault) -> None:
        outage = self._up._health.is_out(write.bucket)
        one = failures.settlement(write.name, write.attempts, fault, outage)
        log.warning(
            "write_failed",
            claim=self._claim.batch.token,
            bucket=write.bucket,
            key=write.key,
            seq=write.seq,
            attempt=write.attempts,
            counted=one.counted,
            retry_in=round(one.delay, 2) if one.outcome is Outcome.RETRY else None,
            error_class=fault.error_class.value,
            code=fault.code,
            http_status=fault.http_status,
            message=fault.message,
        )
        self._add(one)

    def _settle(self) -> None:
        """Tells the queue, as long as the lease lives: Redis may be away for a moment."""
        claim, up = self._claim, self._up
        settled: list[Settled] = []
        if self._settlements:
            try:
                settled = while_leased(claim, up._held)(
                    up._queue.settle, claim.batch.token, self._settlements, max_attempts=up._settings.max_attempts
                )
            except RetryError as error:
                log.error(
                    "settle_failed",
                    claim=claim.batch.token,
                    writes=len(self._settlements),
                    error=str(error.last_attempt.exception()),
                    remedy="the writes are uploaded again when their lease is over",
                )
        claim.settled = len(settled) == len(claim.batch.writes)
        delays = [
            one.delay
            for one, answer in zip(self._settlements, settled, strict=False)  # empty when Redis could not be told
            if answer is Settled.DELAYED
        ]
        if delays:
            up._sweeper.wake(min(delays))  # now that the queue knows them, not before
        log.info(
            "batch",
            claim=claim.batch.token,
            writes=len(claim.batch.writes),
            stored=settled.count(Settled.STORED),
            retried=settled.count(Settled.DELAYED),
            dead=settled.count(Settled.DEAD),
            lease_lost=self._lost + settled.count(Settled.LEASE_LOST),
            bytes_in=self._body_bytes,
            bytes_out=self._stored_bytes,
            seconds=round(boottime() - claim.claimed_at, 4),
        )
        up._metrics.settled(
            claim, self._settlements, settled, self._lost, self._body_bytes, self._stored_bytes, boottime(), time.time()
        )
