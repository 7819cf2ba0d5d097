"""Workers are replaced one after another under load, as an upgrade does it: new and old ones work side by side."""

from __future__ import annotations

import pytest

from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import WorkerProcess
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
SIDE_BY_SIDE = 50
"""Writes that land of each worker that runs, before one of them is stopped."""


def landed_by(store: FaultS3) -> dict[str, int]:
    """Writes that have landed, by the worker that sent them."""
    found: dict[str, int] = {}
    for versions in list(store.history.values()):
        for version in list(versions):
            found[version.by] = found.get(version.by, 0) + 1
    return found


def wait_until_each_has_landed(store: FaultS3, names: set[str]) -> None:
    before = landed_by(store)

    def landed() -> bool:
        now = landed_by(store)
        return all(now.get(name, 0) >= before.get(name, 0) + SIDE_BY_SIDE for name in names)

    wait_until(landed, LIMIT, f"all of {sorted(names)} work side by side")


def test_workers_replaced_one_by_one_under_load_lose_nothing_and_send_nothing_twice(
    redis_url: str, queue_name: str, store: FaultS3, oracle: Oracle, fleet: Fleet
) -> None:
    old: list[WorkerProcess] = fleet.start_some(2)
    with Writers(redis_url, queue_name, oracle.ledger):
        wait_until_each_has_landed(store, {"worker-1", "worker-2"})
        for number, worker in enumerate(old, 1):
            fleet.start()
            wait_until_each_has_landed(store, {f"worker-{number}", f"worker-{number + 2}"})
            worker.terminate()
            assert worker.wait() == 0
            fleet.remove(worker)
        wait_until_each_has_landed(store, {"worker-3", "worker-4"})
    summary = oracle.check()
    assert summary.overtaken == 0
    puts = [version.seq for versions in store.history.values() for version in versions if version.sha256]
    assert len(puts) == len(set(puts)), "a write was sent twice although every stop was one in order"
