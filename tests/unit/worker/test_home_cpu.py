"""The home of a busy process's threads: one CPU while they keep the interpreter busy, every CPU otherwise."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from penstock_worker import home_cpu
from penstock_worker.home_cpu import HomeCpu, Look

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="there is but one CPU to choose"
)

LIMIT = 30.0


class Load:
    """What the clocks say: seconds that pass, this process's share of them, and each CPU's."""

    def __init__(self) -> None:
        self.now = Look(0.0, 0.0, dict.fromkeys(os.sched_getaffinity(0), 0.0))

    def look(self, last: Look | None) -> Look:
        return self.now

    def passes(self, own: float, shares: dict[int, float]) -> None:
        at, before, busy = self.now
        self.now = Look(at + 1.0, before + own, {cpu: busy[cpu] + shares.get(cpu, 0.0) for cpu in busy})


@pytest.fixture
def load() -> Load:
    return Load()


@pytest.fixture
def home(load: Load) -> Iterator[HomeCpu]:
    allowed = frozenset(os.sched_getaffinity(0))
    made = HomeCpu(load.look)
    made.step()
    yield made
    load.passes(0.0, {})
    made.step()
    assert places() == {allowed}, "all may run everywhere again"


def places() -> set[frozenset[int]]:
    return {frozenset(os.sched_getaffinity(thread.native_id or 0)) for thread in threading.enumerate()}


def test_a_busy_process_has_its_threads_on_the_least_busy_cpu(home: HomeCpu, load: Load) -> None:
    _, second = sorted(os.sched_getaffinity(0))[:2]
    others = dict.fromkeys(os.sched_getaffinity(0), 0.9)
    load.passes(0.9, others | {second: 0.1})
    home.step()
    assert home.cpu == second
    assert places() == {frozenset({second})}
    load.passes(0.4, others | {second: 0.4})  # less busy, and others leave it alone
    home.step()
    assert home.cpu == second
    load.passes(0.1, others)
    home.step()
    assert home.cpu is None


def test_a_process_with_little_to_do_is_left_alone(home: HomeCpu, load: Load) -> None:
    load.passes(0.4, {})
    home.step()
    assert home.cpu is None


def test_threads_move_when_others_crowd_their_home(home: HomeCpu, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sorted(os.sched_getaffinity(0))[:2]
    others = dict.fromkeys(os.sched_getaffinity(0), 0.9)
    load.passes(0.9, others | {first: 0.1})
    home.step()
    assert home.cpu == first
    monkeypatch.setattr("random.random", lambda: 0.9)
    load.passes(0.5, others | {first: 1.0, second: 0.1})
    home.step()
    assert home.cpu == first, "not every time, or two processes would move together"
    monkeypatch.setattr("random.random", lambda: 0.1)
    load.passes(0.5, others | {first: 1.0, second: 0.1})
    home.step()
    assert home.cpu == second


def test_a_thread_roams_while_its_work_needs_no_interpreter(home: HomeCpu, load: Load) -> None:
    allowed = os.sched_getaffinity(0)
    load.passes(0.9, {})
    home.step()
    assert os.sched_getaffinity(0) == {home.cpu}
    with home.roam():
        for _ in range(5):
            assert os.sched_getaffinity(0) == allowed
            load.passes(0.9, {})
            home.step()
    load.passes(0.9, {})
    home.step()
    assert os.sched_getaffinity(0) == allowed, "it has done so since the look before"
    load.passes(0.9, {})
    home.step()
    assert os.sched_getaffinity(0) == {home.cpu}
    with home.roam():
        assert os.sched_getaffinity(0) == allowed


def test_a_roaming_thread_moves_once_and_not_with_each_body(
    home: HomeCpu, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    load.passes(0.9, {})
    home.step()
    moves: list[int] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cpus: moves.append(thread))
    for _ in range(100):
        with home.roam():
            pass
    assert len(moves) == 1
    monkeypatch.undo()


def test_a_thread_that_roamed_while_the_home_was_given_up_stays_free(home: HomeCpu, load: Load) -> None:
    allowed = os.sched_getaffinity(0)
    load.passes(0.9, {})
    home.step()
    with home.roam():
        load.passes(0.0, {})
        home.step()
    assert os.sched_getaffinity(0) == allowed
    for _ in range(3):
        load.passes(0.9, {})
        home.step()
    assert os.sched_getaffinity(0) == {home.cpu}
    with home.roam():
        assert os.sched_getaffinity(0) == allowed


def test_where_it_is_forbidden_the_worker_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(thread: int, cpus: set[int]) -> None:
        raise PermissionError("a filter of system calls")

    load = Load()
    home = HomeCpu(load.look)
    monkeypatch.setattr(home_cpu, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    home.step()
    load.passes(0.9, {})
    home.start()
    home.join(LIMIT)
    assert not home.is_alive()
    assert home.cpu is None


def test_the_clocks_are_the_systems() -> None:
    first = home_cpu.look(None)
    while home_cpu.look(None).own - first.own < 0.05:
        pass
    second = home_cpu.look(first)
    assert second.busy.keys() >= os.sched_getaffinity(0)
    assert all(seconds > 0 for seconds in second.busy.values())


def test_a_home_that_is_taken_away_does_not_fail_what_a_roaming_thread_does(
    home: HomeCpu, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_away(thread: int, cpus: set[int]) -> None:
        raise OSError("no such CPU any more")

    load.passes(0.9, {})
    home.step()
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_setaffinity", taken_away)
        with home.roam():
            sent = True
    assert sent


def test_at_its_end_all_threads_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_cpu, "LOOK_SECONDS", 0.0)
    allowed = frozenset(os.sched_getaffinity(0))
    load = Load()
    home = HomeCpu(load.look)
    home.step()
    load.passes(0.9, {})
    home.step()
    assert places() != {allowed}
    home.stop()
    home.start()
    home.join(LIMIT)
    assert places() == {allowed}
