"""The slot that a worker keeps for critical writes: claimed from while all others are taken, and disturbing nothing."""

from __future__ import annotations

import pytest

from penstock import Producer, Write
from penstock.queue.blocks import block
from penstock.queue.client import Queue
from penstock.queue.results import Batch
from penstock_worker import consumer
from penstock_worker.held import boottime
from tests.support.stores import BUCKET
from tests.support.wait import wait_until
from tests.support.worker_parts import Parts

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""


def put(producer: Producer, count: int) -> None:
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(count)])


def claim_as_a_dead_worker(queue: Queue) -> None:
    assert queue.claim(
        ["dead"], lease=0.001, max_items=25, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
    ).batches


def test_a_critical_write_is_claimed_while_all_other_slots_are_taken(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, slots=2, batch_max_items=2)
    put(producer, 10)
    parts.claim()
    parts.claim()
    queue.wait_for_wake_up(0.01)
    producer.put("urgent", b"body", priority="critical")
    assert queue.wait_for_wake_up(0.01), "it woke nobody"
    claim = parts.claim()
    assert [write.key for write in claim.batch.writes] == ["urgent"]
    assert not queue.wait_for_wake_up(0.01), "another was woken for what is claimed"
    producer.put("second", b"body", priority="critical")
    assert parts.look() is None
    assert queue.stats().inflight == 5
    parts.ack(claim)
    assert parts.claim().batch.critical


def test_a_claim_of_critical_writes_leaves_the_probes_and_the_swept_to_others(producer: Producer, queue: Queue) -> None:
    producer.put("swept", b"body")
    claim_as_a_dead_worker(queue)
    wait_until(lambda: queue.sweep(max_attempts=8).taken_back, LIMIT, "its lease is over")
    parts = Parts(queue, slots=1, batch_max_items=1)
    held = parts.held.add(Batch("held", []), boottime() + LIMIT)
    producer.put("urgent", b"body", priority="critical")
    claim = parts.claim()
    assert claim.batch.critical
    parts.held.remove(held.batch.token)
    put(producer, 1)
    assert not parts.claim().batch.alone, (
        "nothing else was taken, because of a claim that knows of critical writes only"
    )


def test_what_critical_writes_cannot_be_claimed_now_is_looked_at_less_often(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(queue, slots=1, batch_max_items=1)
    put(producer, 2)
    parts.claim()
    block(queue, None, None)
    producer.put("urgent", b"body", priority="critical")
    looks: list[bool] = []
    look = queue.any_critical

    def counted() -> bool:
        looks.append(look())
        return looks[-1]

    monkeypatch.setattr(queue, "any_critical", counted)
    monkeypatch.setattr(consumer, "CRITICAL_VAIN_SECONDS", LIMIT)
    for _ in range(3):
        assert parts.look() is None
    assert looks == [True]


def test_a_look_finds_what_is_ready_and_not_what_is_blocked(producer: Producer, queue: Queue) -> None:
    assert not queue.any_critical()
    producer.put("low", b"body", priority="low")
    assert not queue.any_critical()
    producer.put("urgent", b"body", priority="critical")
    assert queue.any_critical()
    block(queue, BUCKET, None)

    reply = queue.claim(
        ["a"],
        lease=LIMIT,
        max_items=25,
        max_bytes=10**6,
        max_wait=0,
        budget=10**6,
        holds_none=False,
        only_critical=True,
    )
    assert reply.batches == []
    assert not queue.any_critical()


def test_a_critical_write_does_not_wait_for_a_shard_that_needs_bytes(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, slots=4, batch_max_items=1)
    put(producer, 1)
    parts.claim()  # so the other shard's turn comes first
    assert parts.held.take_room(1, 0, needs=parts.settings.memory_budget) is None
    producer.put("other", b"body")
    assert parts.look() is None
    producer.put("urgent", b"body", priority="critical")
    assert parts.claim().batch.critical
    parts.held.forget(1)
    assert parts.look() is not None, "what the other shard does not wait for any more"
