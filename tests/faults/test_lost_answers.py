"""Requests whose outcome the worker cannot know: nothing is lost, and the last write stands."""

from __future__ import annotations

import pytest

from penstock import Producer
from tests.support import fault_s3
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import BUCKET
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""

MANY_ATTEMPTS = 100
RATE = 0.06
LATE = 3.0  # seconds, with a request's time limit below
TIMEOUT = 0.5


def test_answers_that_are_lost_late_or_cut_lose_nothing(
    redis_url: str, queue_name: str, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    faults = (
        fault_s3.reset_before(rate=RATE),
        fault_s3.reset_after(rate=RATE),
        fault_s3.cut_answer(rate=RATE),
        fault_s3.error_after(rate=RATE),
        fault_s3.late_answer(LATE, rate=RATE / 6),
        fault_s3.refusal(500, "InternalError", rate=RATE),
    )
    for engine in ("obstore", "boto3"):
        fleet.launch(s3_engine=engine, request_timeout=TIMEOUT, max_attempts=MANY_ATTEMPTS)
    fleet.wait_until_ready(*fleet.workers)
    with Writers(redis_url, queue_name, oracle.ledger), store.broken(*faults):
        wait_until(lambda: all(store.hits(one.kind) >= 5 for one in faults), LIMIT, "each fault has struck")
    oracle.check(faults={one.kind: 5 for one in faults})


@pytest.mark.parametrize("engine", ["obstore", "boto3"])
def test_a_put_that_timed_out_and_lands_before_a_newer_one_is_followed_by_it(
    engine: str, producer: Producer, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    gate = store.gate()
    worker = fleet.start(s3_engine=engine, request_timeout=TIMEOUT)
    with store.broken(fault_s3.held(gate, prefix="key")):
        old = oracle.ledger.put(producer, "key", b"the old one")
        wait_until(lambda: worker.events("write_failed"), LIMIT, "the worker has given it up")
    assert worker.events("write_failed")[0]["code"] == "Timeout"
    gate.open()
    wait_until(lambda: store.versions("key", BUCKET), LIMIT, "it has landed")
    new = oracle.ledger.put(producer, "key", b"the new one")
    oracle.check(faults={"held": 1})
    seqs = [version.seq for version in store.versions("key", BUCKET)]
    assert (seqs[0], seqs[-1]) == (old.seq, new.seq)


def test_a_delete_that_timed_out_and_is_done_before_a_newer_put_is_followed_by_it(
    producer: Producer, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    gate = store.gate()
    worker = fleet.start(request_timeout=TIMEOUT)
    oracle.ledger.put(producer, "key", b"the old one")
    oracle.wait_until_drained()
    with store.broken(fault_s3.held(gate, prefix="key")):
        oracle.ledger.delete(producer, "key")
        wait_until(lambda: worker.events("write_failed"), LIMIT, "the worker has given it up")
    gate.open()
    wait_until(lambda: len(store.versions("key", BUCKET)) > 1, LIMIT, "it is done")
    oracle.ledger.put(producer, "key", b"the new one")
    oracle.check(faults={"held": 1})
    assert (BUCKET, "key") in store.objects
