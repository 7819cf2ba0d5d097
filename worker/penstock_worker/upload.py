"""One batch: put, delete, settle."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from threading import Event

from structlog.contextvars import bind_contextvars, bound_contextvars

from penstock.queue.client import Queue
from penstock.queue.results import Claimed, Outcome, Settlement
from penstock_worker import failures
from penstock_worker.breaker import Breaker
from penstock_worker.held import Held, HeldClaim, LeaseLostError, StoppingError
from penstock_worker.home_cpu import HomeCpu
from penstock_worker.metrics import Metrics
from penstock_worker.outcomes import Outcomes, Parts
from penstock_worker.overtaken import is_overtaken
from penstock_worker.prepare import CRITICAL, Put, encode, prepare
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import Store, StoreFault
from penstock_worker.sweeper import Sweeper
from penstock_worker.turns import Ended, Job, Turns

DELETES_PER_REQUEST = 1000  # S3 API reference, "DeleteObjects"

LEAST_BATCHES = 4
"""Batches held at once: while one settles, the others upload."""
MOST_BATCHES = 12
"""As many as are needed to have 128 requests under way all the time, were a batch of 25 writes."""


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
        home_cpu: HomeCpu,
    ) -> None:
        self.turns = Turns(settings.upload_concurrency, settings.upload_concurrency_max, held.aborting)
        self._parts = Parts(shards, store, settings, held, metrics, sweepers, health, breaker, self.turns, home_cpu)

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
        self._jobs = 0
        self._done: list[None] = []  # appended to by all threads: that needs no lock
        self._ended = Event()
        self._bugs: list[Exception] = []

    def run(self) -> None:
        jobs: dict[str, list[Job]] = defaultdict(list)
        urgent: dict[str, list[Job]] = defaultdict(list)
        puts, deletes = prepare(self._claim, self._parts, self._outcomes)
        for put in puts:
            (urgent if put.write.priority == CRITICAL else jobs)[put.bucket].append(partial(self._put, put))
        for bucket, every in deletes.items():
            for step in _requests(every, self._claim.batch.epoch):
                is_urgent = any(write.priority == CRITICAL for write in step)
                (urgent if is_urgent else jobs)[bucket].append(partial(self._delete, bucket, step))
        self._jobs = sum(map(len, (*jobs.values(), *urgent.values())))
        for bucket in {*jobs, *urgent}:
            self._parts.turns.submit(bucket, jobs[bucket], urgent[bucket])
        self._parts.held.resize(self._batches())
        if self._jobs:
            self._ended.wait()  # each request has its time limit
        self._outcomes.settle()
        for bug in self._bugs:
            raise bug  # it must be seen, after the others' results are safe

    def _batches(self) -> int:
        """Batches to hold at once: while one half of their writes is under way, the others are claimed or settled."""
        wanted = math.ceil(2 * self._parts.turns.in_use() / self._parts.settings.batch_max_items)
        return min(max(LEAST_BATCHES, wanted), MOST_BATCHES)

    def _begin(self) -> None:
        """A thread of `Turns`, which works for all claims, does something for this one: its log lines say so."""
        bind_contextvars(claim=self._claim.batch.token)

    def _one_done(self) -> None:
        self._done.append(None)
        if len(self._done) == self._jobs:
            self._ended.set()

    # -- S3 -----------------------------------------------------------------------------------------------------

    def _put(self, put: Put) -> Ended | None:
        try:
            self._begin()
            if put.request is not None:
                return self._try_put(put)
            with self._parts.home_cpu.roam():
                return self._try_put(put)
        except Exception as error:  # noqa: BLE001 - counted: a write that meets a bug must not come back for ever
            self._crashed([put.write], error)
            return None
        finally:
            self._one_done()

    def _try_put(self, put: Put) -> Ended | None:
        write = put.write
        if is_overtaken(write, self._claim, self._parts, self._outcomes):
            return None
        request, put.request = put.request, None  # its body is let go with it, not with the batch
        if request is None:
            request = encode(put, self._outcomes)
            if request is None:
                return None
        began = time.monotonic()
        try:
            self._parts.store.put(request, partial(self._may_send, put.bucket, (write.name,)))
        except LeaseLostError:
            self._outcomes.lose(1)
            return None
        except StoppingError:
            self._outcomes.add(Settlement(write.name, Outcome.NEVER_SENT))
            return None
        except StoreFault as fault:
            self._parts.metrics.request("put", time.monotonic() - began, fault)
            self._answered(put.bucket, [fault])
            self._outcomes.failed(write, fault)
            return Ended(began, len(request.body), fault)
        self._answered(put.bucket, ())
        self._outcomes.stored(write, time.monotonic() - began, put.body_bytes, len(request.body))
        return Ended(began, len(request.body), None)

    def _crashed(self, writes: list[Claimed], error: Exception) -> None:
        try:
            fault = failures.crash(error)
            for write in writes:
                self._outcomes.failed(write, fault)
        except Exception as bug:  # noqa: BLE001 - raised again by run
            self._bugs.append(bug)

    def _delete(self, bucket: str, writes: list[Claimed]) -> Ended | None:
        """One request for all; a single one from before the epoch is looked at first."""
        try:
            self._begin()
            if is_overtaken(writes[0], self._claim, self._parts, self._outcomes):
                return None
            return self._try_delete(bucket, writes)
        except Exception as error:  # noqa: BLE001 - as in _put
            self._crashed(writes, error)
            return None
        finally:
            self._one_done()

    def _try_delete(self, bucket: str, writes: list[Claimed]) -> Ended | None:
        by_key = {write.key: write for write in writes}
        ended: Ended | None = None
        began = time.monotonic()
        is_begun = False

        def check() -> None:
            nonlocal is_begun
            self._may_send(bucket, [write.name for write in writes], is_begun=is_begun)
            is_begun = True

        try:
            faults = self._parts.store.delete_many(bucket, list(by_key), check)
        except LeaseLostError:
            self._outcomes.lose(len(writes))
            return None
        except StoppingError:
            for write in writes:
                # Keys that went out one by one may have been sent before the stop (rule REL).
                sent = write.name in self._claim.sent
                self._outcomes.add(Settlement(write.name, Outcome.MAYBE_SENT if sent else Outcome.NEVER_SENT))
            return None
        except StoreFault as fault:
            faults = dict.fromkeys(by_key, fault)
            self._parts.metrics.request("delete", time.monotonic() - began, fault)
            ended = Ended(began, None, fault)
        except Exception as error:  # noqa: BLE001 - as in _put
            faults = dict.fromkeys(by_key, failures.crash(error))
        else:
            self._parts.metrics.request("delete", time.monotonic() - began, None)
            ended = Ended(began, None, next(iter(faults.values()), None))
            for one in faults.values():
                self._parts.metrics.error("delete", one)
        self._parts.metrics.deletes_failed(len(faults))
        self._answered(bucket, list(faults.values()))
        for key, write in by_key.items():
            if key in faults:
                self._outcomes.failed(write, faults[key])
            else:
                self._outcomes.add(Settlement(write.name, Outcome.STORED))
        return ended

    def _may_send(self, bucket: str, names: Sequence[bytes], *, is_begun: bool = False) -> None:
        """Called right before a request is sent (rules LEASE and PIN); from here on the writes may reach S3 (REL).

        ``is_begun``: it is a further one of a job whose first one the breaker let through.
        """
        claim = self._claim
        if self._parts.stops(bucket, claim, is_begun=is_begun):
            raise StoppingError
        try:
            claim.may_send(names)
        except (LeaseLostError, StoppingError):
            self._parts.breaker.gave_up(bucket)
            raise

    def _answered(self, bucket: str, faults: Collection[StoreFault]) -> None:
        """Before the outcome is noted, which depends on what this makes of the bucket."""
        self._parts.breaker.answered(bucket, faults, is_probe=self._claim.is_probe)


def _requests(deletes: list[Claimed], epoch: int) -> Iterator[list[Claimed]]:
    """A bucket's deletes, those of a request together; what was accepted before the epoch goes by itself (EPOCH)."""
    late = []
    for write in deletes:
        if write.seq < epoch:
            yield [write]
        else:
            late.append(write)
    for at in range(0, len(late), DELETES_PER_REQUEST):
        yield late[at : at + DELETES_PER_REQUEST]
