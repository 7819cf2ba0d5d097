"""The table of section 5 of the design: what each class of fault does to a write's claim."""

from __future__ import annotations

import pytest

from penstock.queue.results import Outcome
from penstock_worker import failures
from penstock_worker.failures import LONG_BACKOFF, OUTAGE_LEAST, OUTAGE_WINDOW, Health, settlement
from penstock_worker.stores import ErrorClass, StoreFault

DRAWS = 200
"""Delays are drawn at random: so many, that a wrong range shows."""


def fault(error_class: ErrorClass) -> StoreFault:
    return StoreFault(error_class, "SomeCode", 500, "a message")


@pytest.mark.parametrize(
    ("error_class", "outcome", "counted"),
    [
        (ErrorClass.THROTTLE, Outcome.RETRY, False),
        (ErrorClass.TRANSIENT, Outcome.RETRY, True),
        (ErrorClass.UNKNOWN, Outcome.RETRY_UNKNOWN, True),
        (ErrorClass.ENVIRONMENT, Outcome.RETRY_ENVIRONMENT, False),
        (ErrorClass.PERMANENT, Outcome.DEAD, True),
    ],
)
def test_a_class_decides_whether_a_write_comes_back_and_whether_that_counts(
    error_class: ErrorClass, outcome: Outcome, counted: bool
) -> None:
    settled = settlement(b"name", 1, fault(error_class), outage=False)
    assert (settled.outcome, settled.counted) == (outcome, counted)
    assert settled.failure is not None
    assert settled.failure.error_class == error_class.value
    assert (settled.failure.code, settled.failure.http_status, settled.failure.message) == (
        "SomeCode",
        500,
        "a message",
    )


def test_every_class_has_a_policy() -> None:
    assert failures.POLICIES.keys() == set(ErrorClass)


@pytest.mark.parametrize(
    ("error_class", "outcome"),
    [
        (ErrorClass.THROTTLE, Outcome.RETRY),
        (ErrorClass.TRANSIENT, Outcome.RETRY),
        (ErrorClass.UNKNOWN, Outcome.RETRY_UNKNOWN),
    ],
)
def test_in_an_outage_nothing_that_may_pass_counts(error_class: ErrorClass, outcome: Outcome) -> None:
    for attempts in (1, 200):
        settled = settlement(b"name", attempts, fault(error_class), outage=True)
        assert (settled.outcome, settled.counted) == (outcome, False)
        assert LONG_BACKOFF[0] <= settled.delay <= LONG_BACKOFF[1]


def test_a_broken_environment_is_not_asked_again_at_once() -> None:
    delays = [settlement(b"name", 1, fault(ErrorClass.ENVIRONMENT), outage=False).delay for _ in range(DRAWS)]
    assert min(delays) >= LONG_BACKOFF[0]
    assert max(delays) <= LONG_BACKOFF[1]


def test_an_outage_does_not_save_a_write_that_is_itself_at_fault() -> None:
    assert settlement(b"name", 1, fault(ErrorClass.PERMANENT), outage=True).outcome is Outcome.DEAD


@pytest.mark.parametrize("error_class", [ErrorClass.THROTTLE, ErrorClass.TRANSIENT, ErrorClass.UNKNOWN])
def test_backoff_grows_with_the_attempts_up_to_its_cap(error_class: ErrorClass) -> None:
    policy = failures.POLICIES[error_class]
    for attempts in (1, 3, 255):
        most = min(policy.cap, policy.base * 2**attempts)
        delays = [settlement(b"name", attempts, fault(error_class), outage=False).delay for _ in range(DRAWS)]
        assert all(failures.LEAST_BACKOFF <= delay <= most for delay in delays)
        assert min(delays) < most / 4, "jitter is full: short delays are as likely as long ones"
        assert max(delays) > most * 3 / 4


def test_an_outage_needs_enough_requests_of_which_most_failed() -> None:
    health = Health()
    for _ in range(OUTAGE_LEAST - 1):
        health.record("bucket", False)
        assert not health.is_out("bucket")
    health.record("bucket", False)
    assert health.is_out("bucket")
    assert not health.is_out("another")


def test_one_bad_write_among_many_good_ones_is_no_outage() -> None:
    health = Health()
    for number in range(100):
        health.record("bucket", number % 2 == 0)
        assert not health.is_out("bucket") or number < OUTAGE_LEAST


def test_throttling_and_faults_of_the_writes_are_no_outage() -> None:
    health = Health()
    for _ in range(OUTAGE_WINDOW):
        health.answered("bucket", [fault(ErrorClass.THROTTLE)])
        health.answered("another", [fault(ErrorClass.PERMANENT), fault(ErrorClass.PERMANENT)])
    assert not health.is_out("bucket")
    assert not health.is_out("another")
    for error_class in (ErrorClass.TRANSIENT, ErrorClass.UNKNOWN, ErrorClass.ENVIRONMENT):
        for _ in range(OUTAGE_LEAST):
            health.answered(error_class.value, [fault(ErrorClass.PERMANENT), fault(error_class)])
        assert health.is_out(error_class.value)


def test_an_outage_ends_with_the_requests_that_succeed() -> None:
    health = Health()
    for _ in range(100):
        health.record("bucket", False)
    for _ in range(OUTAGE_WINDOW // 2):
        assert health.is_out("bucket")
        health.record("bucket", True)
    assert not health.is_out("bucket")


def test_an_old_failure_says_nothing_about_now(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health()
    now = 1000.0
    monkeypatch.setattr("penstock_worker.failures.time.monotonic", lambda: now)
    for _ in range(OUTAGE_WINDOW):
        health.record("bucket", False)
    assert health.is_out("bucket")
    now += failures.OUTAGE_SECONDS + 1
    assert not health.is_out("bucket")


def test_a_bug_becomes_a_fault_that_counts_and_quotes_nothing() -> None:
    made = failures.crash(ValueError("with the secret body"))
    assert made.error_class is ErrorClass.UNKNOWN
    assert "ValueError" in made.message
    assert "secret" not in made.message
