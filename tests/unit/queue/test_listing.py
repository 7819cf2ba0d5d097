"""Listings in parts: nothing that stays is missed, whatever happens between two parts."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import InvalidSetting
from penstock.queue.listing import part
from penstock.queue.look import Entry, Filter, State
from penstock.queue.results import Outcome
from tests.support.queue import BUCKET, LEASE, ShiftedQueue

READY_OF_TENANT = Filter(state=State.READY, bucket=BUCKET, tenant="")
WAYS = [Filter(), Filter(state=State.READY), READY_OF_TENANT, Filter(prefix="1")]


def _fill(queue: ShiftedQueue, writes: int = 300) -> set[str]:
    """Of several priorities and ages, some with the same age."""
    names = [f"{number:03}" for number in range(writes)]
    for at in range(0, writes, 30):
        queue.enqueue(*[queue.put(key, priority="high" if int(key) % 3 else "low") for key in names[at : at + 30]])
        queue.advance(1)
    return set(names)


def _parts(queue: ShiftedQueue, where: Filter, limit: int) -> list[list[str]]:
    found, cursor = [], ""
    while True:
        entries, after = part(queue.queue, where, limit, cursor)
        found.append([entry.key for entry in entries])
        if after is None:
            return found
        cursor = after


@pytest.mark.parametrize("limit", [1, 7, 50, 100, 1000])
@pytest.mark.parametrize("where", WAYS)
def test_the_parts_are_the_whole_and_none_is_too_large(queue: ShiftedQueue, where: Filter, limit: int) -> None:
    names = _fill(queue, 120)
    found = _parts(queue, where, limit)
    assert sorted(key for some in found for key in some) == sorted(
        key for key in names if key.startswith(where.prefix or "")
    )
    assert all(len(some) == limit for some in found[:-1]) or where.prefix
    assert max(map(len, found)) <= limit


def test_parts_keep_the_order_of_their_source(queue: ShiftedQueue) -> None:
    names = _fill(queue, 120)
    high = sorted(key for key in names if int(key) % 3)
    low = sorted(names - set(high))
    assert [key for some in _parts(queue, READY_OF_TENANT, 7) for key in some] == high + low


@pytest.mark.parametrize("where", WAYS[:3])
def test_what_leaves_and_comes_between_two_parts_hides_nothing_that_stays(queue: ShiftedQueue, where: Filter) -> None:
    names = _fill(queue)
    entries, cursor = part(queue.queue, where, 40)
    seen = {entry.key for entry in entries}
    round_ = gone = 0
    while cursor is not None:
        # The front goes, which every rank after it depends on, and a page's last write with it.
        queue.settle(queue.claim_now(max_items=20))
        queue.enqueue(*[queue.put(f"new/{round_}/{number}") for number in range(20)])
        entries, cursor = part(queue.queue, where, 40, cursor)
        seen |= {entry.key for entry in entries}
        round_, gone = round_ + 1, gone + 20
        assert round_ < 60, "it does not end"
    stayed = names & {entry.key for entry in _all(queue)}
    assert gone >= 80
    assert stayed
    assert stayed <= seen


def _all(queue: ShiftedQueue) -> list[Entry]:
    return part(queue.queue, Filter(), 10_000)[0]


@pytest.mark.parametrize("state", [State.DELAYED, State.INFLIGHT, State.PARKED])
def test_the_other_states_are_listed_in_parts_too_while_leases_are_renewed(queue: ShiftedQueue, state: State) -> None:
    if state is State.PARKED:
        queue.queue.configure(dead_size=1)
    tokens = []
    for at in range(0, 60, 5):
        queue.advance(0.1)
        batch = queue.claimed(*[queue.put(f"{number:03}") for number in range(at, at + 5)])
        tokens.append(batch.token)
        if state is State.DELAYED:
            queue.settle(batch, Outcome.RETRY, delay=60)
        elif state is State.PARKED:
            queue.settle(batch, Outcome.DEAD)
    seen, cursor = set(), ""
    for round_ in range(100):
        entries, after = part(queue.queue, Filter(state=state), 7, cursor)
        seen |= {entry.key for entry in entries}
        if state is State.INFLIGHT and round_ < len(tokens):
            queue.queue.renew([tokens[round_]], lease=LEASE, max_age=900)
        if after is None:
            break
        cursor = after
    else:
        raise AssertionError("it does not end")
    assert seen == {f"{number:03}" for number in range(60)}


@pytest.mark.parametrize("cursor", ["x", "%%%", "lAABAg", "a" * 500, "ü"])
def test_a_damaged_cursor_is_refused(queue: ShiftedQueue, cursor: str) -> None:
    with pytest.raises(InvalidSetting, match="--cursor is"):
        part(queue.queue, Filter(), 10, cursor)


@pytest.mark.parametrize("other", [Filter(prefix="0"), Filter(state=State.READY), Filter(tenant="")])
def test_a_cursor_of_another_listing_is_refused(queue: ShiftedQueue, other: Any) -> None:
    _fill(queue, 90)
    _, cursor = part(queue.queue, Filter(), 10)
    assert cursor is not None
    with pytest.raises(InvalidSetting, match="other options"):
        part(queue.queue, other, 10, cursor)
