"""Claims whose answers were lost: they are given back, because nothing of them was sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from tests.support.worker_parts import LostAnswer, Parts

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""


def put(producer: Producer, count: int) -> None:
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(count)])


@pytest.fixture
def answer_lost(producer: Producer, redis_url: str, queue_name: str) -> Iterator[Parts]:
    """A worker whose claim of three writes was carried out, and whose answer was lost."""
    client = open_client(redis_url, LIMIT)
    losing = LostAnswer(client, queue_name)
    parts = Parts(losing)
    put(producer, 3)
    losing.lose = True
    assert parts.look() is None
    yield parts
    client.close()


def test_a_claim_whose_answer_was_lost_is_given_back_before_the_next(answer_lost: Parts, queue: Queue) -> None:
    assert queue.stats().inflight == 3
    assert answer_lost.held.all() == []
    claim = answer_lost.claim()
    assert [write.attempts for write in claim.batch.writes] == [1, 1, 1]


def test_a_claim_whose_answer_was_lost_is_given_back_at_a_stop(answer_lost: Parts, queue: Queue) -> None:
    parts = answer_lost
    parts.held.stop()
    assert parts.look() is None
    assert queue.stats().inflight == 3
    parts.consumer.close()
    stats = queue.stats()
    assert (stats.inflight, sum(stats.ready.values())) == (0, 3)


def test_a_stop_does_not_fail_when_redis_takes_no_claim_back(
    producer: Producer, redis_url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(redis_url, LIMIT)
    losing = LostAnswer(client, queue_name)
    parts = Parts(losing, slots=2)
    put(producer, 1)
    losing.lose = True
    assert parts.look() is None
    tries: list[str] = []

    def release(token: str, **_: Any) -> None:
        tries.append(token)
        raise redis.exceptions.TimeoutError("no answer")

    monkeypatch.setattr(losing, "release", release)
    parts.consumer.close()
    assert len(tries) == 1
    client.close()
