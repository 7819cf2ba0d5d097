"""Wake-ups: a worker that sleeps is woken when there is something for it, and by nothing else."""

from __future__ import annotations

import threading

import pytest

from penstock.queue.results import Outcome
from tests.support.queue import LARGE, LEASE, MAX_ATTEMPTS, ShiftedQueue, keys_of
from tests.support.wait import wait_until


def _drained(queue: ShiftedQueue) -> None:
    """As a worker that went to sleep: it has said which batches it wants, and no wake-up waits."""
    while queue.queue.wait_for_wake_up(0.01):
        pass
    queue.claim()


def _woken(queue: ShiftedQueue) -> bool:
    return queue.client.lpop(queue.prefix + "wake") is not None


def test_the_wake_up_list_never_grows(queue: ShiftedQueue) -> None:
    for number in range(100):
        queue.enqueue(queue.put(f"{number:03}", priority="critical"))
        assert queue.client.llen(queue.prefix + "wake") == 1


def test_the_first_write_the_critical_and_the_one_that_fills_a_batch_wake_a_worker(queue: ShiftedQueue) -> None:
    _drained(queue)
    woken: list[int] = []
    for number in range(25):
        queue.enqueue(queue.put(f"{number:03}"))
        woken += [number] if _woken(queue) else []
    assert woken == [0, 24]
    queue.claim()
    _drained(queue)
    queue.enqueue(queue.put("first"))
    _woken(queue)
    queue.enqueue(queue.put("critical", priority="critical"))
    assert _woken(queue)


def test_the_bytes_that_fill_a_batch_wake_a_worker(queue: ShiftedQueue) -> None:
    queue.claim(max_bytes=len(LARGE))
    queue.enqueue(queue.put("a"))
    assert _woken(queue)
    queue.enqueue(queue.put("b"))
    assert not _woken(queue)
    queue.enqueue(queue.put("c", LARGE))
    assert _woken(queue)


def test_a_write_raised_to_critical_wakes_a_worker(queue: ShiftedQueue) -> None:
    _drained(queue)
    queue.enqueue(queue.put("a"))
    _woken(queue)
    queue.enqueue(queue.put("a", priority="critical"))
    assert _woken(queue)


def test_a_refused_write_wakes_nobody(queue: ShiftedQueue) -> None:
    queue.queue.configure(items=1)
    _drained(queue)
    queue.refusal(queue.put("a"), queue.put("b"))
    assert not _woken(queue)


def test_a_worker_passes_the_wake_up_on_while_there_is_work_for_another(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"{number:03}") for number in range(60)])
    _woken(queue)
    queue.claim()
    assert _woken(queue)
    assert len(queue.claim(batches=2).batches) == 1
    assert not _woken(queue), "it has room left, and claims the rest in time"


def test_a_worker_with_no_room_left_passes_on_the_wake_up_for_what_is_not_due_yet(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("critical", priority="critical"), queue.put("low", priority="low"))
    _woken(queue)
    claimed = queue.claim(max_wait=5)
    assert [keys_of(batch) for batch in claimed.batches] == [["critical"]]
    assert claimed.wait is not None
    assert claimed.wait > 0
    assert _woken(queue), "it may be busy when the other write's wait is over"
    assert queue.claim(max_wait=5).batches == []
    assert not _woken(queue), "it has room, and claims in time"


def test_a_worker_with_a_swept_write_passes_on_the_wake_up_for_what_is_not_due_yet(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("swept"))
    queue.advance(LEASE)
    queue.sweep()
    queue.enqueue(queue.put("low", priority="low"))
    _woken(queue)
    claimed = queue.claim(batches=3, max_wait=5)
    assert [keys_of(batch) for batch in claimed.batches] == [["swept"]]
    assert _woken(queue), "it takes nothing else before that one has ended"


def test_a_worker_whose_budget_ends_leaves_the_rest_to_another(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", priority="critical"), queue.put("large", LARGE, priority="critical"))
    _woken(queue)
    assert keys_of(queue.claim_now(budget=1000, holds_none=False, batches=2)) == ["a"]
    assert _woken(queue)
    reply = queue.claim(budget=1000, holds_none=False)
    assert (reply.batches, reply.needs > 1000) == ([], True)
    assert _woken(queue), "another one may have room; this one pops no wake-up before it has"


@pytest.mark.parametrize("way", ["retry", "release", "sweep", "newer", "dead"])
def test_whatever_makes_a_write_ready_again_wakes_a_worker(queue: ShiftedQueue, way: str) -> None:
    batch = queue.claimed(queue.put("a"))
    if way == "newer":
        queue.enqueue(queue.put("a"))
    _woken(queue)
    if way == "retry":
        queue.settle(batch, Outcome.RETRY)
        queue.sweep()
    elif way == "release":
        queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS)
    elif way == "sweep":
        queue.advance(LEASE)
        queue.sweep()
    elif way == "newer":
        queue.settle(batch)
    else:
        queue.settle(batch, Outcome.DEAD)
        queue.queue.retry_dead([letter.seq for letter in queue.queue.dead_letters()])
    assert _woken(queue)


def test_a_sleeping_worker_is_woken_by_a_write(queue: ShiftedQueue) -> None:
    _drained(queue)
    woken: list[bool] = []
    sleeper = threading.Thread(target=lambda: woken.append(queue.queue.wait_for_wake_up(20)))
    sleeper.start()
    wait_until(lambda: queue.client.info("clients")["blocked_clients"], 10, "the worker sleeps")
    queue.enqueue(queue.put("a"))
    sleeper.join(20)
    assert woken == [True]
    assert not _woken(queue)
