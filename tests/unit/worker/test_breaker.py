"""The breaker: when a bucket is suspended, by whom, what is still sent, and what ends it."""

from __future__ import annotations

import pytest

from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.results import Failure
from penstock.queue.suspension import Answer, suspend
from penstock.queue.workers import Facts, beat
from penstock_worker import breaker as breaker_module
from penstock_worker.breaker import Breaker
from penstock_worker.failures import OUTAGE_LEAST, Health
from penstock_worker.held import boottime
from penstock_worker.stores import ErrorClass, StoreFault
from tests.support.stub_s3 import closed_port
from tests.support.worker_parts import Parts

pytestmark = pytest.mark.integration

BUCKET = "bucket"


def fault(error_class: ErrorClass = ErrorClass.ENVIRONMENT) -> StoreFault:
    return StoreFault(error_class, "SomeCode", 403, "no")


def fail(breaker: Breaker, times: int = OUTAGE_LEAST, error_class: ErrorClass = ErrorClass.ENVIRONMENT) -> None:
    for _ in range(times):
        breaker.answered(BUCKET, [fault(error_class)])


def another_is_alive(queue: Queue) -> None:
    parts = Parts(queue)
    facts = Facts(host="other", pid=1, version="0", engine="obstore", slots=parts.settings.upload_concurrency)
    beat(queue, "other", facts)


@pytest.fixture
def breaker(queue: Queue) -> Breaker:
    return Breaker([queue], "me", Health())


@pytest.mark.parametrize("error_class", [ErrorClass.ENVIRONMENT, ErrorClass.UNKNOWN, ErrorClass.TRANSIENT])
def test_most_requests_failing_suspend_the_bucket_and_nothing_claimed_before_is_sent(
    breaker: Breaker, queue: Queue, error_class: ErrorClass
) -> None:
    fail(breaker, OUTAGE_LEAST - 1, error_class)
    assert breaker.lets(BUCKET, boottime(), is_probe=False)
    claimed_at = boottime()
    fail(breaker, 1, error_class)
    assert [one.bucket for one in queue.stats().suspended] == [BUCKET]
    assert not breaker.lets(BUCKET, claimed_at, is_probe=False)
    assert breaker.lets(BUCKET, claimed_at, is_probe=True)
    assert breaker.lets("other", claimed_at, is_probe=False)
    assert breaker.skipped() == [], "claims set it aside by themselves"


@pytest.mark.parametrize("error_class", [ErrorClass.THROTTLE, ErrorClass.PERMANENT])
def test_throttling_and_bad_writes_suspend_nothing(breaker: Breaker, queue: Queue, error_class: ErrorClass) -> None:
    fail(breaker, 10 * OUTAGE_LEAST, error_class)
    assert queue.stats().suspended == []
    assert not breaker.is_open(BUCKET)


@pytest.mark.parametrize("error_class", [None, ErrorClass.PERMANENT, ErrorClass.THROTTLE])
def test_a_probe_that_shows_that_the_destination_lives_resumes_it_for_all(
    breaker: Breaker, queue: Queue, error_class: ErrorClass | None
) -> None:
    fail(breaker)
    breaker.answered(BUCKET, [fault()], is_probe=True)
    assert queue.stats().suspended
    other = Breaker([queue], "other", Health())  # whoever probes, resumes
    other.answered(BUCKET, [] if error_class is None else [fault(error_class)], is_probe=True)
    assert (queue.stats().suspended, queue.stats().blocks) == ([], [])


def test_claims_of_a_later_time_show_that_another_worker_resumed_it(breaker: Breaker) -> None:
    fail(breaker)
    assert breaker.is_open(BUCKET)
    assert breaker.lets(BUCKET, boottime() + 1, is_probe=False)
    assert not breaker.is_open(BUCKET)


def test_a_sick_host_among_healthy_ones_suspends_for_itself_and_tries_one_write_at_a_time(
    breaker: Breaker, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_is_alive(queue)
    fail(breaker)
    assert queue.stats().suspended == []
    assert breaker.skipped() == [BUCKET]
    assert not breaker.lets(BUCKET, boottime() + 1, is_probe=False)
    later = boottime() + 10
    monkeypatch.setattr(breaker_module, "boottime", lambda: later)
    assert breaker.skipped() == []
    assert breaker.lets(BUCKET, later, is_probe=False)
    assert breaker.skipped() == [BUCKET], "while one is tried no others are claimed"
    assert not breaker.lets(BUCKET, later, is_probe=False)
    breaker.gave_up(BUCKET)
    assert breaker.lets(BUCKET, later, is_probe=False)
    fail(breaker, 1)
    assert not breaker.lets(BUCKET, later, is_probe=False)
    later += 10
    assert breaker.lets(BUCKET, later, is_probe=False)
    breaker.answered(BUCKET, [])
    assert not breaker.is_open(BUCKET)


def test_what_another_worker_finds_too_suspends_it_for_all(breaker: Breaker, queue: Queue) -> None:
    another_is_alive(queue)
    fail(breaker)
    other = Breaker([queue], "other", Health())
    fail(other)
    assert [one.bucket for one in queue.stats().suspended] == [BUCKET]


def test_without_redis_it_suspends_for_itself() -> None:
    away = Queue(open_client(f"redis://127.0.0.1:{closed_port()}", 1), "default")
    breaker = Breaker([away], "me", Health())
    fail(breaker)
    assert breaker.skipped() == [BUCKET]


def test_a_finding_of_a_bucket_suspended_already_is_taken_over(breaker: Breaker, queue: Queue) -> None:
    failure = Failure("environment", "AccessDenied", 403, "no")
    assert suspend(queue, BUCKET, "other", failure) is Answer.SUSPENDED
    fail(breaker)
    assert breaker.is_open(BUCKET)
    assert breaker.skipped() == []
