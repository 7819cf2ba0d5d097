"""dramatiq's view of the queue: when a batch is claimed, and what becomes of it whatever happens."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.errors import QueueNotFound

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.results import Batch, ClaimReply, Failure, Outcome, Settlement
from penstock.queue.suspension import Probe, probe, suspend
from penstock_worker import consumer
from penstock_worker.consumer import CLAIM_DUTY, CLAIMED
from penstock_worker.held import boottime
from tests.support.stores import BUCKET
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until
from tests.support.worker_parts import Parts

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""


def put(producer: Producer, count: int, body: bytes = b"body") -> None:
    producer.put_many([Write(key=f"{n}", body=body) for n in range(count)])


def test_nothing_is_claimed_while_no_thread_is_free(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, slots=2, batch_max_items=2)
    put(producer, 10)
    first, second = parts.claim(), parts.claim()
    assert parts.look() is None
    assert queue.stats().inflight == 4
    parts.ack(first)
    assert len(parts.claim().batch.writes) == 2
    assert parts.look() is None
    assert parts.held.get(second.batch.token) is second


def test_nothing_is_claimed_while_the_bytes_are_spent_and_the_end_of_a_claim_makes_room(
    producer: Producer, queue: Queue
) -> None:
    parts = Parts(queue, slots=4, memory_budget=2500, batch_max_bytes=2500, batch_max_items=1)
    put(producer, 4, bytes(1000))
    first, second = parts.claim(), parts.claim()
    assert parts.look() is None
    assert queue.stats().inflight == 2
    parts.ack(first)
    parts.ack(second)
    assert parts.look() is not None
    assert parts.look() is not None


def test_alone_a_swept_write_waits_until_nothing_is_held_and_nothing_joins_it(producer: Producer, queue: Queue) -> None:
    producer.put("swept", b"body")
    assert _claim_as_a_dead_worker(queue) == 1
    wait_until(lambda: queue.sweep(max_attempts=8).taken_back, LIMIT, "its lease is over")
    parts = Parts(queue, slots=4, batch_max_items=1)
    held = parts.held.add(Batch("held", []), boottime() + LIMIT)
    producer.put("a", b"body")
    other = parts.claim()
    assert not other.batch.alone
    producer.put("b", b"body")
    assert parts.look() is None, "more was taken before what is held had ended"
    parts.held.remove(held.batch.token)
    assert parts.look() is None
    parts.ack(other)
    alone = parts.claim()
    assert (alone.batch.alone, [write.key for write in alone.batch.writes]) == (True, ["swept"])
    assert parts.look() is None, "a claim joined it"
    parts.ack(alone)
    assert parts.look() is not None


def _claim_as_a_dead_worker(queue: Queue) -> int:
    reply = queue.claim(["dead"], lease=0.001, max_items=25, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True)
    return sum(len(batch.writes) for batch in reply.batches)


def test_ack_gives_back_what_is_not_settled(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    put(producer, 3)
    claim = parts.claim()
    queue.settle(claim.batch.token, [Settlement(claim.batch.writes[0].name, Outcome.STORED)], max_attempts=8)
    parts.ack(claim)
    parts.ack(claim)  # a second one finds nothing
    stats = queue.stats()
    assert (stats.inflight, sum(stats.ready.values())) == (0, 2)
    assert parts.held.all() == []
    again = parts.claim()
    assert [write.attempts for write in again.batch.writes] == [1, 1]  # never sent: as if never claimed


def test_what_may_have_been_sent_keeps_its_attempt_when_it_is_given_back(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    put(producer, 2)
    claim = parts.claim()
    claim.may_send([b"the-bucket/0"])
    parts.ack(claim)
    assert {write.key: write.attempts for write in parts.claim().batch.writes} == {"0": 2, "1": 1}


def test_a_settled_claim_is_not_given_back_again(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    put(producer, 1)
    claim = parts.claim()
    claim.settled = True
    parts.ack(claim)
    assert queue.stats().inflight == 1  # nobody asked the queue
    assert parts.held.all() == []


def test_a_lease_lasts_from_before_the_claim(producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    began: list[float] = []

    def claim(*args: Any, **options: Any) -> ClaimReply:
        began.append(boottime())
        return Queue.claim(queue, *args, **options)

    monkeypatch.setattr(queue, "claim", claim)
    assert parts.claim().deadline <= began[0] + parts.settings.lease_seconds


def test_a_probes_lease_lasts_from_before_its_claim(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    suspend(queue, BUCKET, "worker", Failure("environment", "AccessDenied", 403, "no"))
    began: list[float] = []

    def noted(*args: Any, **options: Any) -> Probe:
        began.append(boottime())
        return probe(*args, **options)

    monkeypatch.setattr(consumer, "probe", noted)
    claim = wait_until(parts.look, LIMIT, "its probe is due")
    assert claim is not None
    assert claim.is_probe
    assert claim.deadline <= began[-1] + parts.settings.lease_seconds


def test_a_stopping_worker_claims_nothing_and_is_not_kept_waiting(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, slots=1)
    put(producer, 3)
    parts.held.stop()
    assert parts.look() is None
    assert queue.stats().inflight == 0


def test_nothing_is_claimed_while_the_host_is_unfit_and_claims_go_on_by_themselves(
    producer: Producer, queue: Queue
) -> None:
    reasons = ["the clock is wrong"]
    parts = Parts(queue, unfit=lambda: reasons[0] if reasons else None)
    put(producer, 3)
    assert parts.look() is None
    assert queue.stats().inflight == 0
    reasons.clear()
    assert len(parts.claim().batch.writes) == 3


def test_close_and_requeue_give_claims_back(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, slots=2, batch_max_items=1)
    put(producer, 2)
    message = next(parts.consumer)  # two batches are claimed, and one is handed out
    assert message is not None
    assert queue.stats().inflight == 2
    parts.consumer.close()
    assert queue.stats().inflight == 1
    parts.consumer.requeue([message])
    assert queue.stats().inflight == 0


def test_an_unreachable_redis_is_no_exception_for_dramatiq(queue_name: str) -> None:
    client = open_client(f"redis://127.0.0.1:{closed_port()}/0", 0.5)
    parts = Parts(Queue(client, queue_name))
    for _ in range(3):
        assert parts.look() is None
    assert parts.beats.age(CLAIM_DUTY) is not None
    assert parts.beats.age(CLAIMED) is None  # so the worker is not ready


def test_a_claim_that_redis_cannot_take_back_ends_here_all_the_same(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(queue)
    put(producer, 1)
    claim = parts.claim()

    def away(*args: object, **kwargs: object) -> None:
        raise redis.exceptions.ConnectionError("away")

    monkeypatch.setattr(queue, "release", away)
    parts.held.aborting.set()  # else it is tried until the lease is over
    parts.ack(claim)
    assert parts.held.all() == []


def test_an_actor_that_raises_leaves_no_claim_behind(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    runs: list[str] = []

    def broken(claim: str) -> None:
        runs.append(claim)
        parts.held.stop()
        raise RuntimeError("a bug")

    dramatiq.actor(broker=parts.broker, actor_name="upload_batch", queue_name=parts.broker.queue_names[0])(broken)
    put(producer, 3)
    worker = dramatiq.Worker(parts.broker, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        wait_until(lambda: runs and not parts.held.all(), LIMIT, "the claim ended")
    finally:
        worker.stop()
    stats = queue.stats()
    assert (stats.inflight, sum(stats.ready.values())) == (0, 3)


def test_a_message_carries_the_claims_name_and_no_payload(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    producer.put("key", b"secret body", metadata={"a": "secret"})
    message = next(parts.consumer)
    assert message is not None
    assert "secret" not in repr(message)
    assert b"secret" not in message.encode()
    assert message.queue_name in parts.broker.queues
    assert "secret" not in repr(parts.claim_of(message))


def test_only_a_declared_queue_can_be_consumed(queue: Queue) -> None:
    with pytest.raises(QueueNotFound):
        Parts(queue).broker.consume("another")
