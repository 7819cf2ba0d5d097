"""What a process holds: room for more, the lease of each claim, what may have been sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from penstock.queue.results import Batch, Claimed
from penstock_worker.held import Held, LeaseLostError, Room, StoppingError, boottime
from tests.support.wait import wait_until

LIMIT = 30.0
"""Seconds, against hangs only."""


def batch(token: str, size: int = 10) -> Batch:
    return Batch(token, [Claimed(b"bucket/" + token.encode(), 1, 1, 2, 1, False, size, b"", b"")])


def alive() -> float:
    return boottime() + LIMIT


def test_room_is_what_claims_leave_and_comes_back_when_they_end() -> None:
    held = Held(2, 100)
    assert held.wait_for_room(0) == (2, 100, True)
    held.add(batch("a", 60), alive())
    assert held.wait_for_room(0) == (1, 40, False)
    held.add(batch("b", 70), alive())  # one that was larger than what was left
    assert held.wait_for_room(0) == (0, 0, False)
    held.remove("a")
    assert held.wait_for_room(0) == (1, 30, False)
    held.remove("a")  # a second time changes nothing
    held.remove("b")
    assert held.wait_for_room(0) == (2, 100, True)


def test_whoever_waits_for_a_slot_is_woken_when_a_claim_ends() -> None:
    held = Held(1, 100)
    held.add(batch("a"), alive())
    found: list[tuple[int, int, bool]] = []
    waiting = threading.Thread(target=lambda: found.append(held.wait_for_room(LIMIT)))
    waiting.start()
    held.remove("a")
    waiting.join(LIMIT)
    assert found == [(1, 100, True)]


@pytest.mark.parametrize(
    "wait", [lambda held: held.wait_for_room(LIMIT), lambda held: held.take_room(0, LIMIT, needs=100)]
)
def test_a_stop_wakes_whoever_waits(wait: Callable[[Held], object]) -> None:
    held = Held(1, 100)
    held.add(batch("a"), alive())
    waiting = threading.Thread(target=wait, args=(held,))
    waiting.start()
    held.stop()
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    assert held.wait_for_room(0) == (0, 0, False)


def test_who_needs_bytes_waits_until_so_many_are_free_or_nothing_is_held() -> None:
    held = Held(4, 100)
    held.add(batch("a", 60), alive())
    held.add(batch("b", 30), alive())
    assert held.take_room(0, 0, needs=50) is None
    found: list[Room | None] = []
    # A wait far longer than the limit: only the end of a claim can end it.
    waiting = threading.Thread(target=lambda: found.append(held.take_room(0, LIMIT * 100, needs=50)), daemon=True)
    waiting.start()
    assert held.has_critical_room(), "critical writes wait for a large one"
    held.remove("a")
    waiting.join(LIMIT)
    (room,) = found
    assert room is not None
    assert (room.budget, room.holds_none) == (70, False)
    held.give_back(room)
    held.remove("b")
    room = held.take_room(0, 0, needs=1000)
    assert room is not None
    assert room.holds_none


def test_nobody_whose_turn_comes_later_takes_the_bytes_that_another_waits_for() -> None:
    held = Held(4, 100)
    held.add(batch("a", 60), alive())
    assert held.take_room(0, 0, needs=50) is None
    assert held.take_room(1, 0) is None, "it keeps its place from one call to the next"
    assert held.take_room(0, 0, needs=50) is None
    held.remove("a")
    room = held.take_room(0, 0, needs=50)
    assert room is not None
    held.give_back(room)
    assert held.take_room(1, 0) is not None


def urgent(token: str) -> Batch:
    return Batch(token, [Claimed(b"bucket/" + token.encode(), 1, 1, 0, 1, False, 10, b"", b"")])


def test_one_slot_is_kept_for_critical_writes_however_they_were_claimed() -> None:
    held = Held(2, 100)
    held.add(batch("a"), alive())
    held.add(urgent("urgent"), alive())
    assert held.wait_for_room(0)[0] == 1, "what is critical is in its own slot"
    assert held.take_critical_room(0) is None
    held.add(batch("b"), alive())
    assert held.wait_for_room(0)[0] == 0
    held.remove("urgent")
    assert held.wait_for_room(0)[0] == 0
    room = held.take_critical_room(0)
    assert room is not None
    assert (room.slots, room.budget, room.holds_none, room.critical) == (1, 80, False, True)
    assert held.take_critical_room(1) is None
    held.add(urgent("another"), alive(), room=room)
    held.give_back(room)
    assert not held.has_critical_room()
    assert held.wait_for_room(0)[0] == 0
    held.remove("another")
    assert held.has_critical_room()


def test_alone_critical_writes_join_no_swept_write_and_no_claim_that_may_bring_one() -> None:
    held = Held(2, 100)
    room = held.take_room(0, 0)
    assert room is not None
    assert held.take_critical_room(1) is None
    swept = Batch("swept", [Claimed(b"bucket/key", 1, 1, 2, 2, False, 10, b"", b"", True)])
    held.add(swept, alive(), room=room)
    held.give_back(room)
    assert held.take_critical_room(1) is None
    held.remove("swept")
    assert held.take_critical_room(1) is not None
    other = held.take_room(0, 0)
    assert other is not None
    assert not other.holds_none, "a claim that may bring a swept write joined one of critical writes"


def test_alone_critical_writes_wait_while_the_process_runs_empty() -> None:
    held = Held(2, 100)
    held.add(batch("a"), alive())
    asking = threading.Thread(target=held.take_room, args=(0, LIMIT), kwargs={"empty": True})
    asking.start()
    wait_until(lambda: not held.has_critical_room(), LIMIT, "it to ask")
    assert held.take_critical_room(1) is None
    held.stop()
    asking.join(LIMIT)


def test_a_stopping_worker_has_no_room_for_critical_writes_either() -> None:
    held = Held(2, 100)
    assert held.has_critical_room()
    held.stop()
    assert held.take_critical_room(0) is None


def test_tokens_differ_between_claims_and_between_processes() -> None:
    one, other = Held(4, 1), Held(4, 1)
    tokens = one.new_tokens(3) + one.new_tokens(3) + other.new_tokens(3)
    assert len(set(tokens)) == 9


def test_what_is_about_to_be_sent_is_noted_only_with_a_live_lease() -> None:
    claim = Held(1, 100).add(batch("a"), alive())
    claim.may_send([b"1", b"2"])
    claim.deadline = boottime()
    with pytest.raises(LeaseLostError):
        claim.may_send([b"3"])
    claim.deadline = alive()
    claim.lost = True
    with pytest.raises(LeaseLostError):
        claim.may_send([b"4"])
    assert sorted(claim.end()) == [b"1", b"2"]


def test_a_lease_goes_on_while_the_host_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {time.CLOCK_BOOTTIME: 100.0, time.CLOCK_MONOTONIC: 100.0}
    monkeypatch.setattr(time, "clock_gettime", lambda clock: seconds[clock])
    claim = Held(1, 100).add(batch("a"), boottime() + 15)
    seconds[time.CLOCK_BOOTTIME] += 15  # the other one stands still in suspend
    with pytest.raises(LeaseLostError):
        claim.may_send([b"1"])


def test_nothing_is_sent_after_the_list_of_what_was_sent_has_been_taken() -> None:
    claim = Held(1, 100).add(batch("a"), alive())
    claim.may_send([b"1"])
    assert claim.end() == [b"1"]
    with pytest.raises(StoppingError):
        claim.may_send([b"2"])
    assert claim.end() == [b"1"]


def test_waiting_until_empty_ends_with_the_last_claim() -> None:
    held = Held(2, 100)
    held.add(batch("a"), alive())
    assert not held.wait_until_empty(0)
    held.remove("a")
    assert held.wait_until_empty(0)
