"""An old request lands on a newer write: the guard sees it, and the newer one stands in the end (design, section 6)."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from tests.support import fault_s3
from tests.support.fault_s3 import FaultS3, refusal
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import BUCKET
from tests.support.zombie import AT_THE_STORE, BEFORE_SENDING, DELETE, LIMIT, PUT, STOPPED, Scene, play

pytestmark = pytest.mark.faults

Play = Callable[[Callable[[Scene], bool]], Scene]


@pytest.fixture
def run(producer: Producer, store: FaultS3, oracle: Oracle, fleet: Fleet, tmp_path: Path) -> Play:
    return lambda scene: play(scene, producer, store, oracle, fleet, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        (PUT, PUT, AT_THE_STORE),
        (PUT, DELETE, AT_THE_STORE),
        (DELETE, PUT, AT_THE_STORE),
        (PUT, PUT, BEFORE_SENDING),
        (DELETE, PUT, BEFORE_SENDING),
        (PUT, PUT, STOPPED),
    ],
)
def test_promise_2_an_old_write_that_lands_late_does_not_stand(
    old: str, new: str, how: str, run: Play, oracle: Oracle
) -> None:
    def scene(one: Scene) -> bool:
        land = one.leave_behind(old, how)
        one.write(new, "the new one")
        one.let_other_work()
        one.wait_until_landed(1)
        return land()

    run(scene)
    oracle.check()


def test_promise_2_an_old_write_that_lands_late_does_not_stand_when_the_newest_is_dead(
    run: Play, store: FaultS3, queue: Queue, oracle: Oracle
) -> None:
    stored, dead = {}, set()

    def scene(one: Scene) -> bool:
        land = one.leave_behind(PUT, AT_THE_STORE)
        stored[BUCKET, one.key] = one.write(PUT, "the new one").seq
        one.let_other_work()
        one.wait_until_landed(1)
        letters = queue.stats().dead
        with store.broken(refusal(400, "InvalidTag", prefix=one.key)):
            one.write(PUT, "the newest one")
            wait_until(lambda: queue.stats().dead > letters, LIMIT, "the newest write is dead")
        dead.add((BUCKET, one.key))
        return land()

    run(scene)
    oracle.check(dead=dead, stands=stored)


def test_a_put_that_timed_out_and_lands_after_a_newer_one_does_not_stand(run: Play, oracle: Oracle) -> None:
    def scene(one: Scene) -> bool:
        _, landed = one.land_after_timeout()
        one.let_other_work()
        return landed

    run(scene)
    summary = oracle.check()
    assert (summary.overtaken, summary.repaired) == (1, 1)


def test_a_worker_killed_in_the_guard_leaves_the_repair_to_another(run: Play, oracle: Oracle) -> None:
    def scene(one: Scene) -> bool:
        worker, landed = one.land_after_timeout("--at", "in_guard")
        assert worker.wait() == -signal.SIGKILL
        one.let_other_work()
        return landed

    run(scene)
    summary = oracle.check()
    assert (summary.overtaken, summary.repaired) == (1, 1)


def test_a_worker_that_wakes_after_its_lease_sends_nothing(run: Play, store: FaultS3, oracle: Oracle) -> None:
    def scene(one: Scene) -> bool:
        zombie = one.stop_at("after_compress", PUT, "obstore")
        one.write(PUT, "the new one")
        one.let_other_work()
        one.wait_until_landed(1)
        zombie.thaw()
        wait_until(lambda: zombie.events("batch"), LIMIT, "it has ended its batch")
        assert all(version.by != one.zombie for version in store.versions(one.key, BUCKET))
        return True

    run(scene)
    oracle.check()


def test_a_worker_that_wakes_after_the_guard_has_looked_can_land_nothing(
    run: Play, store: FaultS3, oracle: Oracle
) -> None:
    """Rule PIN: what was signed before the check is too old by then. obstore cannot keep it, boto3 can."""

    def scene(one: Scene) -> bool:
        zombie = one.stop_at("after_check", PUT, "boto3")
        one.write(PUT, "the new one")
        one.let_other_work()
        oracle.wait_until_drained()  # which includes the guard's look
        zombie.thaw()
        wait_until(lambda: store.hits(fault_s3.TOO_OLD) or one.landed() > 1, LIMIT, "it came")
        return True

    run(scene)
    oracle.check(faults={fault_s3.TOO_OLD: 1})
