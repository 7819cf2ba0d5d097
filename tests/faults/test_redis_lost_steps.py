"""Redis comes back without its last steps: no old write wins over a newer one (rule EPOCH)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock_worker.demo.servers import RedisServer
from tests.support import fault_s3
from tests.support.backup import Backup
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import BUCKET
from tests.support.writers import Writers, wait_for_more
from tests.support.zombie import DELETE, LIMIT, PUT, Scene, play

pytestmark = pytest.mark.faults

LOSSES = 3
MANY_ATTEMPTS = 100


@pytest.fixture
def redis_server(tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    """One for each test, whose files hold every answered write."""
    with RedisServer(tmp_path, appendfsync="always", executable=redis_executable) as server:
        yield server


@pytest.fixture
def back_up(redis_server: RedisServer, tmp_path: Path) -> Callable[[], Backup]:
    return lambda: Backup(redis_server, tmp_path)


def newest_stands(store: FaultS3, key: str, seq: int) -> bool:
    found = store.objects.get((BUCKET, key))
    return found is not None and found.seq == seq


@pytest.mark.parametrize("old", [PUT, DELETE])
def test_epoch_an_old_write_does_not_win_over_a_newer_one_that_redis_forgot(
    old: str,
    producer: Producer,
    queue: Queue,
    store: FaultS3,
    oracle: Oracle,
    fleet: Fleet,
    back_up: Callable[[], Backup],
) -> None:
    if old == PUT:
        oracle.ledger.put(producer, "key", b"the old one")
    else:
        oracle.ledger.delete(producer, "key")
    backup = back_up()
    worker = fleet.start()
    oracle.wait_until_drained()
    newest = oracle.ledger.put(producer, "key", b"the new one").seq
    wait_until(lambda: newest_stands(store, "key", newest), LIMIT, "the new one is stored")
    oracle.wait_until_drained()
    backup.load()
    oracle.check()
    assert len(worker.events("epoch_began")) == 1
    (event,) = worker.events("write_overtaken")
    assert event["object_seq"] == newest


def test_epoch_a_request_of_a_claim_that_redis_forgot_does_not_stand(
    producer: Producer,
    store: FaultS3,
    oracle: Oracle,
    fleet: Fleet,
    back_up: Callable[[], Backup],
    tmp_path: Path,
) -> None:
    def scene(one: Scene) -> bool:
        gate = store.gate()
        one.write(PUT, "the old one")
        backup = back_up()
        with store.broken(fault_s3.held(gate, access_key=one.zombie)):
            zombie = fleet.start(**one.settings, AWS_ACCESS_KEY_ID=one.zombie)
            wait_until(lambda: gate.held, LIMIT, "the request is under way")
        zombie.freeze()
        backup.load()
        one.write(PUT, "the new one")
        one.let_other_work()
        one.wait_until_landed(1)

        def go_on() -> None:
            zombie.thaw()
            gate.open()

        return one.lands(go_on)

    play(scene, producer, store, oracle, fleet, tmp_path)
    summary = oracle.check()
    assert summary.overtaken >= 1


def test_epoch_under_load_only_what_was_accepted_since_the_backup_is_lost(
    redis_server: RedisServer,
    queue_name: str,
    store: FaultS3,
    oracle: Oracle,
    fleet: Fleet,
    back_up: Callable[[], Backup],
) -> None:
    """The oracle judges all writes but those of the lost time: of these each may be there or not."""
    fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
    lost: list[tuple[float, float]] = []
    with Writers(redis_server.url, queue_name, oracle.ledger, producers=3):
        for _ in range(LOSSES):
            wait_for_more(store, oracle, 150)
            began, backup = time.time(), back_up()
            wait_for_more(store, oracle, 150)
            backup.load()
            lost.append((began, time.time()))
        wait_for_more(store, oracle, 150)
    forgotten = oracle.ledger.forget_between(lost)
    assert forgotten > LOSSES * 100, "hardly anything was lost, so this says little"
    summary = oracle.check()
    print(f"lost at the most: {forgotten} of {summary.accepted + forgotten}")
