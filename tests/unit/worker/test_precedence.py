"""Shards share what room a process has: urgent ones more of it, and none starves."""

from __future__ import annotations

import threading
from collections import Counter

from penstock.queue.results import Batch, Claimed
from penstock_worker.held import Held, Room, boottime
from penstock_worker.precedence import Precedence
from tests.support.wait import wait_until

LIMIT = 30.0
"""Seconds, against hangs only."""
CRITICAL, NORMAL, LOW = 0, 2, 3


def batch(token: str, priority: int = LOW, *, swept: bool = False, size: int = 10) -> Batch:
    write = Claimed(b"bucket/" + token.encode(), 1, 1, priority, 1, False, size, b"", b"", swept)
    return Batch(token, [write])


def served(priorities: dict[int, int], turns: int) -> Counter[int]:
    """Which shards get how many turns when all always want one; each gives writes of one priority."""
    precedence, found = Precedence(), Counter[int]()
    for shard in priorities:
        precedence.enter(shard)
    for _ in range(turns):
        (first,) = [shard for shard in priorities if precedence.is_first(shard)]
        precedence.leave(first)
        precedence.took(first, [priorities[first]] * 25, alone=False)
        precedence.enter(first)
        found[first] += 1
    return found


def test_shards_with_the_same_priorities_take_turns() -> None:
    assert served({0: LOW, 1: LOW, 2: LOW}, 30) == {0: 10, 1: 10, 2: 10}


def test_urgent_shards_get_more_turns_by_the_weights_of_the_priorities_and_none_starves() -> None:
    assert served({0: LOW, 1: CRITICAL, 2: NORMAL}, 110) == {0: 10, 1: 80, 2: 20}


def test_a_shard_that_wanted_nothing_goes_first_once_and_saves_nothing_up() -> None:
    precedence = Precedence()
    precedence.enter(0)
    for _ in range(50):
        precedence.leave(0)
        precedence.took(0, [LOW] * 25, alone=False)
        precedence.enter(0)
    precedence.enter(1)
    turns = []
    for _ in range(6):
        first = 0 if precedence.is_first(0) else 1
        turns.append(first)
        precedence.leave(first)
        precedence.took(first, [LOW] * 25, alone=False)
        precedence.enter(first)
    assert turns[0] == 1
    assert sorted(turns) == [0, 0, 0, 1, 1, 1]


def test_room_is_one_consumers_until_it_is_given_back() -> None:
    held = Held(4, 100)
    room = held.take_room(0, 0, may_be_alone=False)
    assert room is not None
    assert (room.slots, room.budget, room.holds_none) == (4, 100, False)
    assert held.take_room(1, 0) is None
    held.add(batch("a", size=30), boottime() + LIMIT, room=room)
    held.give_back(room)
    other = held.take_room(1, 0)
    assert other is not None
    assert (other.slots, other.budget, other.holds_none) == (3, 70, False)
    held.give_back(other)
    claim = held.get("a")
    assert claim is not None
    assert claim.shard == 0


def test_consumers_that_wait_together_share_the_room() -> None:
    held = Held(4, 100)
    first = held.take_room(0, 0, may_be_alone=False)
    rooms: list[Room | None] = []
    waiting = [
        threading.Thread(target=lambda shard=shard: rooms.append(held.take_room(shard, LIMIT, may_be_alone=False)))
        for shard in (1, 2)
    ]
    for thread in waiting:
        thread.start()
    wait_until(lambda: held._precedence.count == 2, LIMIT, "both to wait")
    assert first is not None
    held.give_back(first)
    for thread in waiting:
        thread.join(LIMIT)
    assert sorted(room.slots for room in rooms if room is not None) == [2, 2]
    assert sum(room.budget for room in rooms if room is not None) <= 100


def test_alone_nobody_else_claims_while_one_that_holds_nothing_does() -> None:
    held = Held(4, 100)
    room = held.take_room(0, 0)
    assert room is not None
    assert room.holds_none
    assert held.take_room(1, 0) is None
    held.add(batch("swept", swept=True), boottime() + LIMIT, room=room)
    held.give_back(room)
    assert held.take_room(1, 0) is None, "a claim joined it"
    held.remove("swept")
    assert held.take_room(1, 0) is not None


def test_alone_the_process_runs_empty_for_a_shard_that_asks_and_the_others_wait_for_their_turn() -> None:
    held = Held(4, 100)
    busy = held.take_room(0, 0)
    assert busy is not None
    held.add(batch("busy"), boottime() + LIMIT, room=busy)
    held.give_back(busy)
    found: list[Room | None] = []
    asking = threading.Thread(target=lambda: found.append(held.take_room(1, LIMIT, empty=True)))
    asking.start()
    wait_until(lambda: held._precedence.count == 1, LIMIT, "it to wait")
    assert held.take_room(0, 0) is None, "it was served last"
    held.remove("busy")
    asking.join(LIMIT)
    assert found[0] is not None
    assert found[0].holds_none


def test_a_stop_ends_every_wait_for_room() -> None:
    held = Held(1, 100)
    held.add(batch("a"), boottime() + LIMIT)
    found: list[Room | None] = []
    waiting = threading.Thread(target=lambda: found.append(held.take_room(0, LIMIT)))
    waiting.start()
    held.stop()
    waiting.join(LIMIT)
    assert found == [None]
    assert held.take_room(0, 0) is None
