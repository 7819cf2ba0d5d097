"""A broken destination is left alone and told of, and resumes by itself; one bad write does not break it."""

from __future__ import annotations

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from tests.support.fault_s3 import FaultS3, refusal
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import BUCKET
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""

ATTEMPTS = 2
TAGGED = "tagged"
PUT_OFF = ("--put-off", "0.5-2")
"""Seconds by which an outage puts a write off, in the place of 5 to 30: nobody wants to wait for that here."""


@pytest.fixture
def fleet(fleet: Fleet) -> Fleet:
    fleet.options += PUT_OFF
    return fleet


def test_a_suspended_bucket_is_told_of_and_resumes_by_itself(
    redis_url: str, queue_name: str, queue: Queue, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(2)

    def suspended() -> list[str]:
        return [f"{one.bucket} {one.note}" for one in queue.stats().blocks if one.reason == "suspended"]

    with Writers(redis_url, queue_name, oracle.ledger):
        with store.broken(refusal(403, "AccessDenied")):
            (told,) = wait_until(suspended, LIMIT, "the bucket is suspended")
            assert BUCKET in told
            assert "AccessDenied" in told
            hits, goal = store.hits("AccessDenied"), oracle.ledger.count + 300
            wait_until(lambda: oracle.ledger.count >= goal, LIMIT, "producers go on")
            assert store.hits("AccessDenied") - hits < 30, "suspended writes are not sent, but for probes"
        wait_until(lambda: not suspended(), LIMIT, "it resumes")
    oracle.check()


def test_a_write_that_may_not_set_its_tag_dies_alone_and_suspends_nothing(
    producer: Producer,
    queue: Queue,
    redis_url: str,
    queue_name: str,
    store: FaultS3,
    oracle: Oracle,
    fleet: Fleet,
) -> None:
    fleet.start_some(2, max_attempts=ATTEMPTS)
    with Writers(redis_url, queue_name, oracle.ledger), store.broken(refusal(403, "AccessDenied", tagged=True)):
        oracle.ledger.put(producer, TAGGED, b"a text", tags={"ttl_days": "7"})
        goal = store.landed + 200
        wait_until(lambda: queue.stats().dead == 1, LIMIT, "the tagged write is dead")
        wait_until(lambda: store.landed >= goal, LIMIT, "the others go on")
        assert queue.stats().blocks == []
    oracle.check(dead={(BUCKET, TAGGED)})
