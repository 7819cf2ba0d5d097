"""The store, the credentials or a clock is broken for a while: nothing is lost, and nothing is dead-lettered.

Workers have few attempts here, so that an outage which counted any would show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fault_s3 import Fault, FaultS3, refusal
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import BUCKET
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""

ATTEMPTS = 3
OTHER = "another-bucket"

PUT_OFF = "0.5-2"
"""Seconds by which an outage puts a write off, in the place of 5 to 30: nobody wants to wait for that here."""

Load = Callable[..., Writers]


@pytest.fixture
def fleet(fleet: Fleet) -> Fleet:
    fleet.options += ("--put-off", PUT_OFF)
    return fleet


@pytest.fixture
def load(redis_url: str, queue_name: str, oracle: Oracle) -> Load:
    return lambda **options: Writers(redis_url, queue_name, oracle.ledger, **options)


def landed_by(store: FaultS3, worker: str) -> int:
    return sum(version.by == worker for versions in list(store.history.values()) for version in list(versions))


def wait_until_landed(store: FaultS3, writes: int) -> None:
    """Returns when so many more have."""
    goal = store.landed + writes
    wait_until(lambda: store.landed >= goal, LIMIT, f"{writes} more writes have landed")


def wait_out(store: FaultS3, kind: str, seconds: float, hits: int = 5) -> None:
    """Returns when so many seconds are over and the fault has struck so often."""
    goal = store.hits(kind) + hits
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end and store.hits(kind) >= goal, seconds + LIMIT, f"{kind} strikes")


@pytest.mark.parametrize(
    "fault",
    [
        refusal(503, "ServiceUnavailable"),
        refusal(403, "AccessDenied"),
        refusal(404, "NoSuchBucket"),  # until the bucket is made
        refusal(503, "SlowDown", rate=0.5),
    ],
    ids=["503_on_everything", "access_denied", "no_such_bucket", "half_slow_down"],
)
def test_a_store_that_is_broken_for_a_while_costs_nothing(
    fault: Fault, outage_seconds: float, store: FaultS3, load: Load, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(2, max_attempts=ATTEMPTS)
    with load():
        wait_until_landed(store, 50)
        with store.broken(fault):
            wait_out(store, fault.kind, outage_seconds)
    oracle.check(faults={fault.kind: 5})


def test_one_broken_bucket_of_two_does_not_hold_the_other_up(
    outage_seconds: float, store: FaultS3, load: Load, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(2, max_attempts=ATTEMPTS)
    with load(buckets=(BUCKET, OTHER)):
        wait_until_landed(store, 50)
        with store.broken(refusal(403, "AccessDenied", bucket=OTHER)):
            wait_out(store, "AccessDenied", outage_seconds)
            wait_until_landed(store, 100)
    oracle.check()
    assert {bucket for bucket, _ in store.history} == {BUCKET, OTHER}


def test_one_worker_of_two_with_stale_credentials_does_not_stop_the_other(
    outage_seconds: float, store: FaultS3, load: Load, oracle: Oracle, fleet: Fleet
) -> None:
    fleet.start_some(2, max_attempts=ATTEMPTS)
    with load():
        wait_until_landed(store, 50)
        with store.broken(refusal(403, "InvalidAccessKeyId", access_key="worker-1")):
            before = landed_by(store, "worker-2")
            wait_out(store, "InvalidAccessKeyId", outage_seconds)
            wait_until(lambda: landed_by(store, "worker-2") > before + 100, LIMIT, "the other one goes on")
    oracle.check()


def test_a_worker_with_a_wrong_clock_sends_nothing_until_it_is_set(
    tmp_path: Path, store: FaultS3, load: Load, oracle: Oracle, fleet: Fleet
) -> None:
    ahead = tmp_path / "seconds"
    ahead.write_text("3600")
    refused = refusal(403, "RequestTimeTooSkewed", access_key="worker-1")
    wrong = fleet.launch("--clock-file", str(ahead), max_attempts=ATTEMPTS)
    fleet.start(max_attempts=ATTEMPTS)
    wrong.wait_until_started()
    with load():
        with store.broken(refused):
            wait_until_landed(store, 200)
            assert wrong.get("/readyz")[0] == 503
            ahead.unlink()
        wait_until(lambda: landed_by(store, "worker-1") > 20, LIMIT, "it takes part")
    oracle.check()
    assert store.hits(refused.kind) == 0, "it sent something while its clock was wrong"


def test_expired_credentials_are_waited_for_and_need_no_restart(
    tmp_path: Path, outage_seconds: float, store: FaultS3, load: Load, oracle: Oracle, fleet: Fleet
) -> None:
    credentials = tmp_path / "credentials"

    def rotate(access_key: str) -> None:
        new = tmp_path / "new"
        new.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = testing\n")
        new.replace(credentials)

    rotate("old")
    from_file = {"AWS_SHARED_CREDENTIALS_FILE": credentials, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    worker = fleet.start(max_attempts=ATTEMPTS, **from_file)
    with load():
        wait_until(lambda: landed_by(store, "old") >= 50, LIMIT, "the load goes on")
        store.start(refusal(400, "ExpiredToken", access_key="old"))
        wait_out(store, "ExpiredToken", outage_seconds)
        rotate("new")
        wait_until(lambda: landed_by(store, "new") >= 50, LIMIT, "it goes on with the new ones")
    oracle.check()
    assert not worker.exited()
