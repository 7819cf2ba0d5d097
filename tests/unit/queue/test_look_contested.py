"""Looking at contested names: all that are marked, idle or with a write in the queue, by the guard's next look."""

from __future__ import annotations

import pytest

from penstock.queue import change, look
from penstock.queue.client import GUARD_SECONDS
from penstock.queue.contested import Verdict
from penstock.queue.listing import part
from penstock.queue.look import Entry, Filter, State, find
from penstock.queue.results import Outcome
from tests.support.marks import looks, stored_while_marked, unknown, verdict
from tests.support.queue import BUCKET, LARGE, START, ShiftedQueue

CONTESTED = Filter(state=State.CONTESTED)


def _found(queue: ShiftedQueue, where: Filter = CONTESTED) -> list[Entry]:
    return [entry for page in look.pages(queue.queue, where) for entry in page]


def _nothing_retained(queue: ShiftedQueue, key: str) -> None:
    unknown(queue, queue.claimed(queue.put(key)))
    queue.sweep()
    queue.settle(queue.claim_now(), Outcome.DEAD)


def test_busy_names_come_with_their_own_state_and_idle_ones_as_contested(queue: ShiftedQueue) -> None:
    seq = stored_while_marked(queue, b"body")
    _nothing_retained(queue, "b")
    unknown(queue, queue.claimed(queue.put("c")), delay=60)
    queue.enqueue(queue.put("not-contested"))
    found = {entry.key: entry for entry in _found(queue)}
    assert {key: (entry.state, entry.contested) for key, entry in found.items()} == {
        "a": (State.CONTESTED, True),
        "b": (State.CONTESTED, True),
        "c": (State.DELAYED, True),
    }
    assert (found["a"].seq, found["a"].operation, found["a"].size) == (seq, "put", len(queue.put("a").tail))
    assert (found["a"].priority, found["a"].tenant) == ("normal", "")
    assert (found["b"].seq, found["b"].operation, found["b"].size, found["b"].accepted_at) == (None, None, None, None)
    assert found["c"].failure is not None


def test_without_the_filter_idle_names_are_not_shown_and_the_others_say_whether_they_are_contested(
    queue: ShiftedQueue,
) -> None:
    stored_while_marked(queue)
    unknown(queue, queue.claimed(queue.put("c")), delay=60)
    queue.enqueue(queue.put("d"))
    assert {entry.key: entry.contested for entry in _found(queue, Filter())} == {"c": True, "d": False}


def test_a_retained_delete_is_shown_as_one(queue: ShiftedQueue) -> None:
    unknown(queue, queue.claimed(queue.delete("a", tenant="t")))
    queue.sweep()
    queue.settle(queue.claim_now())
    (entry,) = _found(queue)
    assert (entry.operation, entry.tenant, entry.state) == ("delete", "t", State.CONTESTED)
    assert _found(queue, Filter(state=State.CONTESTED, tenant="other")) == []


def test_they_come_by_the_guards_next_look_in_parts_too(queue: ShiftedQueue) -> None:
    for number in range(120):
        queue.advance(0.001)
        _nothing_retained(queue, f"{119 - number:03}")
    keys, cursor = [], ""
    while True:
        entries, after = part(queue.queue, CONTESTED, 7, cursor)
        keys += [entry.key for entry in entries]
        if after is None:
            break
        cursor = after
    assert keys == [f"{119 - number:03}" for number in range(120)]


@pytest.mark.parametrize("body", [b"small", LARGE])
def test_an_idle_name_is_shown_with_what_is_retained(queue: ShiftedQueue, body: bytes) -> None:
    seq = stored_while_marked(queue, body)
    details = find(queue.queue, BUCKET, "a")
    assert details is not None
    assert (details.entry.seq, details.entry.state, details.body_size) == (seq, State.CONTESTED, len(body))
    assert details.entry.looks_at is not None
    assert details.entry.looks_at.timestamp() * 1e6 == START + GUARD_SECONDS * 1e6
    assert len(details.sha256 or "") == 64
    assert look.peek(queue.queue, BUCKET, "a", 3) is None, "it waits for nothing"


def test_an_idle_name_with_nothing_retained_is_shown_as_far_as_it_is_known(queue: ShiftedQueue) -> None:
    _nothing_retained(queue, "a")
    details = find(queue.queue, BUCKET, "a")
    assert details is not None
    assert (details.entry.seq, details.header, details.sha256, details.body_size) == (None, None, None, None)


def test_a_name_is_no_longer_shown_when_its_mark_is_gone(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    queue.advance(GUARD_SECONDS)
    verdict(queue, looks(queue)[0], Verdict.FINE)
    assert _found(queue) == []
    assert find(queue.queue, BUCKET, "a") is None


def test_a_purge_skips_idle_names_and_keeps_the_marks_of_the_others(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    _nothing_retained(queue, "b")
    unknown(queue, queue.claimed(queue.put("c")), delay=60)
    queue.enqueue(queue.put("d"))
    pages = [page for page in look.pages(queue.queue, CONTESTED, whole=True) if page]
    assert [[entry.key for entry in page] for page in pages] == [["c"]]
    assert change.purge(queue.queue, sorted(_found(queue), key=lambda entry: entry.key)) == "--p"
    assert queue.stats().items == 1
    assert [entry.key for entry in _found(queue, Filter())] == ["d"]
    assert {entry.key for entry in _found(queue)} == {"a", "b", "c"}
    queue.advance(GUARD_SECONDS)
    assert len(looks(queue)) == 1, "what was retained is still there"
