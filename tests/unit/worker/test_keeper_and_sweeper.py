"""The keeper renews what is held and no longer than it may; the sweeper finds what is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
import redis
import structlog

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.results import Batch, Failure, Outcome, Settlement
from penstock_worker import keeper as keeping
from penstock_worker.beats import Beats
from penstock_worker.held import Held, LeaseLostError, boottime
from penstock_worker.keeper import Keeper
from penstock_worker.sweeper import LONGEST_SLEEP, REDIS_AWAY_SECONDS, Sweeper
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until
from tests.support.worker_parts import Parts

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""

LEASE = 100.0
BROKEN = Failure("unknown", "Timeout", None, "no answer")


def lease_ends(queue: Queue) -> dict[bytes, float]:
    found = queue.client.zrange(queue.prefix + "lease", 0, -1, withscores=True)
    return dict(cast("list[tuple[bytes, float]]", found))


def keeper(parts: Parts, max_age: float = LIMIT) -> Keeper:
    return Keeper(parts.queue, parts.held, parts.beats, LEASE, max_age)


def test_every_held_claim_is_renewed_queued_or_running(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, batch_max_items=1, lease_seconds=5.0)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(2)])
    first, second = parts.claim(), parts.claim()
    before = lease_ends(queue)
    keeper(parts).renew()
    after = lease_ends(queue)
    assert after.keys() == before.keys()
    assert len(after) == 2
    for token, end in after.items():
        assert end - before[token] > (LEASE - 5 - LIMIT) * 1e6
    for claim in (first, second):
        assert claim.deadline - boottime() > LEASE - LIMIT


def test_a_renewed_lease_lasts_from_before_the_call(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    began: list[float] = []

    def renew(*args: Any, **options: Any) -> list[str]:
        began.append(boottime())
        return Queue.renew(queue, *args, **options)

    monkeypatch.setattr(queue, "renew", renew)
    keeper(parts).renew()
    assert claim.deadline <= began[0] + LEASE


def test_a_claim_older_than_its_cap_is_not_renewed(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    before, deadline = lease_ends(queue), claim.deadline
    keeper(parts, max_age=0.0).renew()
    assert (lease_ends(queue), claim.deadline) == (before, deadline)
    assert not claim.lost


def test_a_claim_that_was_taken_back_is_lost_to_its_holder(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    queue.release(claim.batch.token, max_attempts=8)
    keeper(parts).renew()
    assert claim.lost
    with pytest.raises(Exception, match=claim.batch.token):
        claim.may_send([b"the-bucket/key"])
    assert claim.sent == set()


def test_lease_one_that_is_over_is_not_renewed_although_nobody_took_the_claim_back(
    producer: Producer, queue: Queue
) -> None:
    """A Redis that lost its last steps does not know that somebody did, and that a newer write was stored since."""
    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    claim.deadline = boottime() - 0.001
    before = lease_ends(queue)
    keeper(parts).renew()
    assert lease_ends(queue) == before
    assert claim.lost
    with pytest.raises(LeaseLostError):
        claim.may_send([b"the-bucket/key"])


def test_a_renewal_that_redis_does_not_answer_leaves_the_deadline(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue)
    producer.put("key", b"body")
    claim = parts.claim()
    deadline = claim.deadline
    client = open_client(f"redis://127.0.0.1:{closed_port()}/0", 0.5)
    Keeper(Queue(client, queue.name), parts.held, parts.beats, LEASE).renew()
    assert (claim.deadline, claim.lost) == (deadline, False)


KEPT = 15.0
"""A lease of the keepers below, in seconds of a time that goes on only while somebody waits."""


class Waits:
    """In the place of the event that ends a keeper: its time goes on by what is waited, and ends after ``passes``."""

    def __init__(self, passes: int) -> None:
        self.now = 0.0
        self.left = passes

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.left -= 1
        return self.left < 0


class FailingQueue:
    """Answers each renewal after ``seconds``, but for those calls that take so many seconds and raise."""

    shard, count = 0, 1
    seconds = 0.0

    def __init__(self, time: Waits, failing: Mapping[int, float]) -> None:
        self.time = time
        self.failing = failing
        self.calls = 0

    def renew(self, tokens: Sequence[str], *, lease: float, max_age: float) -> list[str]:
        self.calls += 1
        if self.calls in self.failing:
            self.time.now += self.failing[self.calls]
            raise redis.exceptions.TimeoutError("no answer")
        self.time.now += self.seconds
        return ["1"] * len(tokens)


@pytest.mark.parametrize(
    ("failing", "outages"),
    [
        pytest.param({2: 0.0, 3: 0.0}, 1, id="two"),
        pytest.param({2: KEPT / 3}, 1, id="one that hangs"),
        pytest.param({1: KEPT / 3, 3: KEPT / 3}, 2, id="every other one hangs"),
        pytest.param(dict.fromkeys(range(2, 20), 0.0), 1, id="nine seconds of them"),
    ],
)
def test_a_lease_outlives_renewals_that_fail_and_each_outage_is_told_once(
    monkeypatch: pytest.MonkeyPatch, failing: dict[int, float], outages: int
) -> None:
    time = Waits(40)
    monkeypatch.setattr(keeping, "boottime", lambda: time.now)
    queue, held = FailingQueue(time, failing), Held(1, 1000)
    claim = held.add(Batch("token", []), deadline=KEPT)
    thread = Keeper(cast(Queue, queue), held, Beats(), KEPT)
    monkeypatch.setattr(thread, "_ended", time)
    with structlog.testing.capture_logs() as logs:
        thread.run()
    assert not claim.lost
    assert queue.calls == 40
    assert claim.deadline == time.now - KEPT / 3 + KEPT
    assert [line["event"] for line in logs] == ["renewal_failed"] * outages


def test_a_slow_answer_does_not_put_the_next_renewal_off(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Waits(10)
    monkeypatch.setattr(keeping, "boottime", lambda: time.now)
    queue, held = FailingQueue(time, {}), Held(1, 1000)
    queue.seconds = KEPT / 4
    claim = held.add(Batch("token", []), deadline=KEPT)
    thread = Keeper(cast(Queue, queue), held, Beats(), KEPT)
    monkeypatch.setattr(thread, "_ended", time)
    thread.run()
    assert (claim.lost, claim.deadline) == (False, 10 * KEPT / 3 + KEPT)


def sweeper(parts: Parts, queue: Queue | None = None, lease: float = LEASE) -> Sweeper:
    return Sweeper(queue or parts.queue, parts.beats, parts.metrics, lease=lease, max_attempts=8)


def test_an_idle_sweeper_sleeps_its_longest(queue: Queue) -> None:
    parts = Parts(queue)
    assert sweeper(parts)._sweep() == LONGEST_SLEEP
    assert sweeper(parts, lease=2.0)._sweep() == 2.0


def test_the_sweeper_sleeps_until_the_next_lease_ends_or_retry_is_due(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, lease_seconds=3.0)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(2)])
    claim = parts.claim()
    assert 0 < sweeper(parts)._sweep() <= 3.001
    name = claim.batch.writes[0].name
    queue.settle(claim.batch.token, [Settlement(name, Outcome.RETRY, delay=1.0, failure=BROKEN)], max_attempts=8)
    assert 0 < sweeper(parts)._sweep() <= 1.001


def test_a_sweeper_with_more_to_do_does_not_sleep(
    producer: Producer, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(queue, lease_seconds=1.0)
    producer.put("key", b"body")
    parts.claim()
    whole = queue.sweep
    monkeypatch.setattr(queue, "sweep", lambda **options: whole(**options, limit=0))
    wait_until(lambda: sweeper(parts)._sweep() == 0.0, LIMIT, "the lease is over and nothing was taken back yet")


def test_a_sweeper_that_is_woken_takes_back_what_a_dead_worker_held(producer: Producer, queue: Queue) -> None:
    parts = Parts(queue, lease_seconds=1.0)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(3)])
    parts.claim()
    thread = sweeper(parts, lease=1.0)
    thread.start()
    try:
        wait_until(lambda: sum(queue.stats().ready.values()) == 3, LIMIT, "they are ready again")
    finally:
        thread.stop()
        thread.join(LIMIT)
    assert not thread.is_alive()


def test_a_sweeper_without_redis_looks_again_soon(queue: Queue) -> None:
    parts = Parts(queue)
    client = open_client(f"redis://127.0.0.1:{closed_port()}/0", 0.5)
    assert sweeper(parts, Queue(client, queue.name))._sweep() == REDIS_AWAY_SECONDS
