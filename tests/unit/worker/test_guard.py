"""The guard: what it makes of an object, and one step over a real queue and a store that a test fills."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.queue import contested
from penstock.queue.client import GUARD_SECONDS
from penstock.queue.contested import OTHERS_SECONDS, Contested, Verdict
from penstock.queue.results import Outcome
from penstock_worker import beats
from penstock_worker.beats import Beats
from penstock_worker.clock import SKEW_LIMIT
from penstock_worker.guard import (
    CLOCK_WRONG_SECONDS,
    LONGEST_HOLD,
    LONGEST_SLEEP,
    LOOKS_AT_ONCE,
    OTHERS_PAUSE,
    Guard,
    judge,
)
from penstock_worker.metrics import Metrics
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import ErrorClass, ObjectInfo, StoreFault
from penstock_worker.stores.limits import request_seconds
from tests.support.queue import BUCKET, ShiftedQueue, open_queue
from tests.support.wait import wait_until
from tests.support.worker_parts import Objects, info

LIMIT = 30.0
"""Seconds, against hangs only."""


@pytest.mark.parametrize(
    ("is_delete", "found", "verdict", "foreign"),
    [
        (False, None, Verdict.REPAIR, False),
        (False, info(penstock_seq="99"), Verdict.REPAIR, False),
        (False, info(penstock_seq="100"), Verdict.FINE, False),
        (False, info(penstock_seq="101"), Verdict.FINE, False),
        (False, info(), Verdict.FINE, True),
        (False, info(penstock_seq="none"), Verdict.FINE, True),
        (False, info(penstock_seq="٩"), Verdict.FINE, True),
        (True, None, Verdict.FINE, False),
        (True, info(penstock_seq="99"), Verdict.REPAIR, False),
        (True, info(penstock_seq="101"), Verdict.FINE, False),
        (True, info(other="1"), Verdict.FINE, True),
    ],
)
def test_absent_what_an_object_says_about_the_write_that_was_stored(
    is_delete: bool, found: ObjectInfo | None, verdict: Verdict, foreign: bool
) -> None:
    assert judge(Contested(b"bucket/key", b"generatn", 100, is_delete), found) == (verdict, foreign)


class Scene:
    """A guard over a queue whose time stands still."""

    def __init__(self, queue: ShiftedQueue, **settings: Any) -> None:
        self.queue = queue
        self.store = Objects()
        self.metrics = Metrics()
        self.beats = Beats()
        self.settings = WorkerSettings(queue="unused", **settings)
        self.ahead = 0.0
        self.guard = Guard(
            queue.queue, self.store, self.settings, self.beats, self.metrics, lambda: queue.now / 1e6 + self.ahead
        )

    def store_marked(self, *keys: str, bucket: str = BUCKET) -> None:
        for key in keys:
            self.queue.settle(self.queue.claimed(self.queue.put(key, bucket=bucket)), Outcome.RETRY_UNKNOWN)
            self.queue.sweep()
            self.queue.settle(self.queue.claim_now())
        self.queue.advance(GUARD_SECONDS)

    def step(self) -> float:
        with ThreadPoolExecutor(2) as pool:
            return self.guard.step(pool)

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("penstock_guard_looks_total", {"outcome": outcome})

    @property
    def contested(self) -> int:
        return self.queue.stats().contested


@pytest.fixture
def scene(redis_url: str, queue_name: str) -> Iterator[Scene]:
    with open_queue(redis_url, queue_name) as queue:
        yield Scene(queue)


def test_an_object_that_is_right_loses_its_mark_and_a_foreign_one_is_left_alone(scene: Scene) -> None:
    scene.store_marked("right", "foreign")
    scene.store.found = {"right": info(penstock_seq=str(scene.queue.now)), "foreign": info()}
    scene.step()
    assert scene.contested == 0
    assert (scene.count("fine"), scene.count("foreign"), scene.count("repair")) == (1, 1, 0)
    assert scene.queue.stats().unfinished == 0


def test_an_older_object_is_repaired_by_an_ordinary_write(scene: Scene) -> None:
    scene.store_marked("old", "gone")
    scene.store.found = {"old": info(penstock_seq="1")}
    scene.step()
    assert scene.count("repair") == 2
    assert {write.key for write in scene.queue.claim_now().writes} == {"old", "gone"}


def test_absent_a_refused_look_says_nothing_and_is_tried_again(scene: Scene) -> None:
    scene.store_marked("a")
    scene.store.found = {"a": StoreFault(ErrorClass.ENVIRONMENT, "AccessDenied", 403, "no")}
    scene.step()
    assert (scene.contested, scene.queue.stats().unfinished, scene.count("failed")) == (1, 0, 1)
    scene.store.found = {}
    scene.step()
    assert scene.store.looked == ["a"]
    scene.queue.advance(LONGEST_HOLD)
    scene.step()
    assert scene.store.looked == ["a", "a"]
    assert scene.count("repair") == 1


def test_a_look_that_crashes_is_counted_and_does_not_end_the_others(scene: Scene) -> None:
    scene.store_marked("a", "b")
    scene.store.found = {"a": RuntimeError("a bug"), "b": info()}
    scene.step()
    assert (scene.contested, scene.count("failed"), scene.count("foreign")) == (1, 1, 1)
    scene.store.found = {}
    scene.queue.advance(LONGEST_HOLD)
    scene.step()
    assert scene.count("repair") == 1


def test_a_bucket_that_is_not_allowed_is_left_to_other_workers(scene: Scene) -> None:
    """However near to Redis the other is: it must not come first each time."""
    other = Scene(scene.queue, allowed_buckets="other")
    scene.store_marked("a")
    assert other.step() == LONGEST_SLEEP, "it wakes for what it may not look at"
    assert (other.store.looked, scene.contested) == ([], 1)
    assert 0 < scene.step() <= OTHERS_SECONDS[1] + 0.001
    scene.queue.advance(OTHERS_SECONDS[1])
    scene.step()
    assert scene.store.looked == ["a"]
    assert scene.count("repair") == 1


def test_names_of_other_buckets_stand_in_nobodys_way(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contested, "STEP", 2)
    other = Scene(scene.queue, allowed_buckets="other")
    limited = partial(contested.due, limit=2)
    monkeypatch.setattr(contested, "due", limited)
    scene.store_marked("a", "b", "c")
    scene.store_marked("d", bucket="other")
    assert [other.step(), other.step()] == [OTHERS_PAUSE, 0.0]
    assert other.store.looked == ["d"]


def test_the_guard_sleeps_until_the_next_mark_is_due(scene: Scene) -> None:
    assert scene.step() == LONGEST_SLEEP
    scene.store_marked("a")
    scene.queue.advance(-2)
    assert scene.step() == pytest.approx(2.001)
    scene.queue.advance(2)
    assert scene.step() == LONGEST_SLEEP


@pytest.mark.parametrize("ahead", [-SKEW_LIMIT - 1, SKEW_LIMIT + 1], ids=["behind Redis's", "ahead of it"])
def test_a_host_whose_clock_is_wrong_neither_looks_nor_takes_a_mark_off(scene: Scene, ahead: float) -> None:
    """Perhaps it is Redis's that is: what is due by that may still be hit."""
    scene.queue.settle(scene.queue.claimed(scene.queue.put("without a look")), Outcome.RETRY_UNKNOWN)
    scene.queue.sweep()
    scene.queue.settle(scene.queue.claim_now(), Outcome.DEAD)
    scene.store_marked("a")
    scene.ahead = ahead
    assert scene.step() == CLOCK_WRONG_SECONDS
    assert (scene.store.looked, scene.contested) == ([], 2)
    scene.ahead = ahead / 2
    scene.step()
    assert (scene.store.looked, scene.contested) == (["a"], 1)


def test_a_guard_that_waits_for_a_store_that_hangs_is_alive(
    redis_url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 6
    now = 0.0
    silent: list[str] = []
    monkeypatch.setattr(beats, "time", SimpleNamespace(monotonic=lambda: now))
    with open_queue(redis_url, queue_name) as queue:
        scene = Scene(queue, min_bytes_per_second=64 * 1024)
        scene.store_marked(*(f"{n}" for n in range(rounds * LOOKS_AT_ONCE)))

        def hang() -> None:
            nonlocal now
            now += 2 * request_seconds(scene.settings.store_config(), 0)
            silent.extend(scene.beats.overdue())

        together = threading.Barrier(LOOKS_AT_ONCE, hang)

        def head(bucket: str, key: str) -> None:
            together.wait(LIMIT)
            scene.store.looked.append(key)
            raise StoreFault(ErrorClass.UNKNOWN, "Timeout", None, "no answer")

        monkeypatch.setattr(scene.store, "head", head)
        scene.guard.start()
        try:
            wait_until(lambda: len(scene.store.looked) == rounds * LOOKS_AT_ONCE, LIMIT, "it has looked at all")
        finally:
            scene.guard.stop()
            scene.guard.join(LIMIT)
        assert silent == []
