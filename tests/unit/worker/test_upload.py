"""One batch, whatever its store does: bugs are counted, retries are found in time, lost leases send nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.look import find
from penstock.queue.suspension import Answer
from penstock_worker.failures import OUTAGE_LEAST
from penstock_worker.held import HeldClaim, boottime
from penstock_worker.stores import ErrorClass, PutRequest, StoreFault
from penstock_worker.sweeper import Sweeper
from tests.support.worker_parts import CallStore, Parts

pytestmark = pytest.mark.integration


class _SeenWakes(Sweeper):
    """Never started; looks at the queue when somebody wakes it."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.queue, parts.beats, parts.metrics, lease=15, max_attempts=8)
        self._parts = parts
        self.delayed: list[int] = []

    def wake(self, within: float) -> None:
        self.delayed.append(self._parts.queue.stats().delayed)


def run_batch(
    producer: Producer, queue: Queue, put: Callable[[PutRequest], None], keys: int, **settings: Any
) -> tuple[Parts, HeldClaim, CallStore, _SeenWakes]:
    """Uploads one batch with a store of which each PUT is ``put``."""
    parts = Parts(queue, **settings)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(keys)])
    claim = parts.claim()
    store, sweeper = CallStore(put), _SeenWakes(parts)
    uploader = parts.uploader(store, sweeper)
    try:
        uploader.run(claim)
        parts.ack(claim)
    finally:
        uploader.close()
    return parts, claim, store, sweeper


def test_a_write_that_meets_a_bug_is_counted_and_its_batchmates_are_stored(producer: Producer, queue: Queue) -> None:
    def put(request: PutRequest) -> None:
        if request.key == "3":
            raise AssertionError("a bug")

    run_batch(producer, queue, put, 10, max_attempts=1)
    stats = queue.stats()
    assert (stats.unfinished, stats.dead) == (0, 1)
    (letter,) = queue.dead_letters()
    assert (letter.key, letter.failure.code) == ("3", "EngineError")
    assert "AssertionError" in letter.failure.message


class _RefusesOneKey(CallStore):
    def delete_many(self, bucket: str, keys: Sequence[str], check: Callable[[], None]) -> dict[str, StoreFault]:
        super().delete_many(bucket, keys, check)
        return {"3": StoreFault(ErrorClass.PERMANENT, "InvalidArgument", 400, "no")}


def test_deletes_that_fail_are_counted_by_key_although_their_request_succeeds(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    for number in range(5):
        producer.delete(f"{number}")
    claim = parts.claim()
    uploader = parts.uploader(_RefusesOneKey(lambda request: None), _SeenWakes(parts))
    try:
        uploader.run(claim)
        parts.ack(claim)
    finally:
        uploader.close()
    value = parts.metrics.registry.get_sample_value
    assert value("penstock_failed_deletes_total") == 1
    assert value("penstock_writes_total", {"outcome": "deleted"}) == 4
    assert value("penstock_s3_write_requests_total", {"operation": "delete", "outcome": "ok"}) == 1


def test_the_sweeper_is_woken_for_a_retry_once_the_queue_knows_of_it(producer: Producer, queue: Queue) -> None:
    def put(request: PutRequest) -> None:
        raise StoreFault(ErrorClass.UNKNOWN, "InternalError", 500, "broken")

    sweeper = run_batch(producer, queue, put, 3)[3]
    assert sweeper.delayed == [3]


@pytest.mark.parametrize("operation", ["put", "delete"])
def test_nothing_is_sent_without_a_lease(operation: str, producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    if operation == "put":
        producer.put("key", b"body")
    else:
        producer.delete("key")
    claim = parts.claim()
    claim.deadline = boottime() - 1
    store = CallStore(lambda request: None)
    uploader = parts.uploader(store, _SeenWakes(parts))
    uploader.run(claim)
    uploader.close()
    assert store.keys == []
    assert claim.sent == set()
    assert queue.stats().inflight == 1


def test_a_failed_probe_counts_no_attempt_although_this_worker_saw_nothing_fail_before(
    producer: Producer, queue: Queue
) -> None:
    def put(request: PutRequest) -> None:
        raise StoreFault(ErrorClass.UNKNOWN, "InternalError", 500, "broken")

    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    claim.is_probe = True
    sweeper = _SeenWakes(parts)
    parts.uploader(CallStore(put), sweeper).run(claim)
    assert sweeper.delayed == [1]
    details = find(queue, "the-bucket", "key")
    assert details is not None
    assert details.entry.attempts == 0


def test_nothing_is_sent_once_the_worker_must_stop(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    parts.held.aborting.set()
    store = CallStore(lambda request: None)
    uploader = parts.uploader(store, _SeenWakes(parts))
    uploader.run(claim)
    parts.ack(claim)
    uploader.close()
    assert store.keys == []
    assert sum(queue.stats().ready.values()) == 1
    parts = Parts(queue)
    assert parts.claim().batch.writes[0].attempts == 1  # as if it had never been claimed


def test_nothing_is_sent_to_a_bucket_that_was_suspended_after_the_claim(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    broken = StoreFault(ErrorClass.ENVIRONMENT, "AccessDenied", 403, "no")
    for _ in range(OUTAGE_LEAST):
        parts.breaker.answered(claim.batch.writes[0].bucket, [broken])
    store = CallStore(lambda request: None)
    uploader = parts.uploader(store, _SeenWakes(parts))
    uploader.run(claim)
    parts.ack(claim)
    uploader.close()
    assert (store.keys, claim.sent) == ([], set())
    stats = queue.stats()
    assert (stats.inflight, stats.contested, stats.unfinished) == (0, 0, 1)


def test_nothing_is_sent_on_a_host_that_became_unfit_after_the_claim(producer: Producer, queue: Queue) -> None:
    reasons: list[str] = []
    parts = Parts(queue, unfit=lambda: reasons[0] if reasons else None)
    producer.put("key", b"body")
    claim = parts.claim()
    reasons.append("the clock is wrong")
    store = CallStore(lambda request: None)
    uploader = parts.uploader(store, _SeenWakes(parts))
    uploader.run(claim)
    parts.ack(claim)
    uploader.close()
    assert store.keys == []
    reasons.clear()
    assert parts.claim().batch.writes[0].attempts == 1  # as if it had never been claimed


class _TwoRequests(CallStore):
    """A store that deletes by two requests, as one with keys that no DeleteObjects can carry."""

    def __init__(self, between: Callable[[], None] = lambda: None) -> None:
        super().__init__(lambda request: None)
        self.checked = 0
        self._between = between

    def delete_many(self, bucket: str, keys: Sequence[str], check: Callable[[], None]) -> dict[str, StoreFault]:
        for _ in range(2):
            check()
            self.checked += 1
            self._between()
        return {}


def test_what_a_sick_host_tries_may_take_several_requests(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(queue)
    producer.delete("key")
    claim = parts.claim()
    bucket = claim.batch.writes[0].bucket
    monkeypatch.setattr("penstock_worker.breaker.suspend", lambda *_: Answer.UNCONFIRMED)  # others do not find the same
    for _ in range(OUTAGE_LEAST):
        parts.breaker.answered(bucket, [StoreFault(ErrorClass.ENVIRONMENT, "AccessDenied", 403, "no")])
    later = boottime() + 10  # when it tries by itself
    monkeypatch.setattr("penstock_worker.breaker.boottime", lambda: later)
    store = _TwoRequests()
    uploader = parts.uploader(store, _SeenWakes(parts))
    uploader.run(claim)
    parts.ack(claim)
    uploader.close()
    assert store.checked == 2
    assert queue.stats().unfinished == 0
    assert not parts.breaker.is_open(bucket)


@pytest.mark.parametrize("answer", [Answer.SUSPENDED, Answer.UNCONFIRMED], ids=["for-all", "for-this-worker"])
def test_of_a_bucket_suspended_meanwhile_no_further_request_is_sent(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    parts = Parts(queue)
    producer.delete("key")
    claim = parts.claim()
    monkeypatch.setattr("penstock_worker.breaker.suspend", lambda *_: answer)

    def others_fail() -> None:
        for _ in range(OUTAGE_LEAST):
            parts.breaker.answered(
                claim.batch.writes[0].bucket, [StoreFault(ErrorClass.ENVIRONMENT, "AccessDenied", 403, "no")]
            )

    store = _TwoRequests(others_fail)
    uploader = parts.uploader(store, _SeenWakes(parts))
    uploader.run(claim)
    parts.ack(claim)
    uploader.close()
    assert store.checked == 1
