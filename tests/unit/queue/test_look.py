"""Looking at single writes: what is where, in bounded steps, and never a body unless it is asked for."""

from __future__ import annotations

import pytest

from penstock.queue.look import Entry, Filter, State, find, pages, peek
from penstock.queue.results import Outcome
from tests.support.queue import BROKEN, BUCKET, LARGE, REFUSED, START, ShiftedQueue


def _found(queue: ShiftedQueue, **where: object) -> list[Entry]:
    return [entry for page in pages(queue.queue, Filter(**where)) for entry in page]  # type: ignore[arg-type]


def _keys(queue: ShiftedQueue, **where: object) -> list[str]:
    return sorted(entry.key for entry in _found(queue, **where))


@pytest.fixture
def mixed(queue: ShiftedQueue) -> ShiftedQueue:
    """One write of each state, and some to filter."""
    queue.settle(queue.claimed(queue.put("delayed")), Outcome.RETRY, delay=60)
    queue.queue.configure(dead_size=1)
    queue.settle(queue.claimed(queue.put("parked")), Outcome.DEAD)
    queue.claimed(queue.put("flying", tenant="t"))
    queue.enqueue(queue.put("dir/ready", priority="high", tenant="ü"), queue.delete("other", bucket="other"))
    return queue


def test_every_write_is_in_exactly_one_state(mixed: ShiftedQueue) -> None:
    assert {entry.key: entry.state.value for entry in _found(mixed)} == {
        "delayed": "delayed", "parked": "parked", "flying": "inflight", "dir/ready": "ready", "other": "ready",
    }  # fmt: skip
    for state, keys in (("delayed", ["delayed"]), ("parked", ["parked"]), ("inflight", ["flying"])):
        assert _keys(mixed, state=State(state)) == keys
    assert _keys(mixed, state=State.READY) == ["dir/ready", "other"]


def test_filters_narrow_and_go_together(mixed: ShiftedQueue) -> None:
    assert _keys(mixed, tenant="ü") == ["dir/ready"]
    assert _keys(mixed, tenant="") == ["delayed", "other", "parked"]
    assert _keys(mixed, bucket="other") == ["other"]
    assert _keys(mixed, priority="high") == ["dir/ready"]
    assert _keys(mixed, prefix="d") == ["delayed", "dir/ready"]
    assert _keys(mixed, prefix="d", state=State.READY) == ["dir/ready"]
    assert _keys(mixed, bucket=BUCKET, tenant="ü", state=State.READY) == ["dir/ready"]
    assert _keys(mixed, bucket=BUCKET, tenant="ü", state=State.READY, priority="low") == []


def test_an_entry_says_since_when_why_and_when_again(mixed: ShiftedQueue) -> None:
    (delayed,) = _found(mixed, state=State.DELAYED)
    assert delayed.accepted_at is not None
    assert delayed.accepted_at.timestamp() * 1e6 == START
    assert delayed.due_at is not None
    assert delayed.due_at.timestamp() * 1e6 == START + 60e6
    assert (delayed.attempts, delayed.failure, delayed.size) == (1, BROKEN, len(mixed.put("a").tail))
    (parked,) = _found(mixed, state=State.PARKED)
    assert (parked.failure, parked.due_at) == (REFUSED, None)
    (ready,) = _found(mixed, bucket="other")
    assert (ready.attempts, ready.failure, ready.operation, ready.waiting_seq) == (0, None, "delete", None)


def test_of_a_write_in_flight_its_own_facts_are_shown_and_the_number_of_the_one_behind_it(queue: ShiftedQueue) -> None:
    (claimed,) = queue.claimed(queue.put("a", priority="low", tenant="old")).writes
    ((newer, _),) = queue.enqueue(queue.delete("a", priority="high", tenant="new"))
    (entry,) = _found(queue)
    assert (entry.seq, entry.waiting_seq, entry.state) == (claimed.seq, newer, State.INFLIGHT)
    assert (entry.operation, entry.priority, entry.tenant) == ("put", "low", "old")


@pytest.mark.parametrize("where", [{}, {"state": State.READY}, {"state": State.READY, "bucket": BUCKET, "tenant": ""}])
def test_all_of_many_are_seen_page_by_page(queue: ShiftedQueue, where: dict[str, object]) -> None:
    for start in (0, 200, 400):
        queue.enqueue(*[queue.put(f"{number:03}") for number in range(start, start + 200)])
    sizes = [len(page) for page in pages(queue.queue, Filter(**where))]  # type: ignore[arg-type]
    assert len(sizes) >= 6
    assert max(sizes) < 150
    assert set(_keys(queue, **where)) == {f"{number:03}" for number in range(600)}


def test_the_delayed_come_by_their_time_and_a_tenant_s_ready_by_priority_and_age(queue: ShiftedQueue) -> None:
    for key, delay in (("late", 30), ("soon", 10), ("then", 20)):
        queue.settle(queue.claimed(queue.put(key)), Outcome.RETRY, delay=delay)
    assert [entry.key for entry in _found(queue, state=State.DELAYED)] == ["soon", "then", "late"]
    for key, priority in (("c", "low"), ("b", "high"), ("a", "high")):
        queue.enqueue(queue.put(key, priority=priority, tenant="t"))
        queue.advance(1)
    assert [entry.key for entry in _found(queue, state=State.READY, bucket=BUCKET, tenant="t")] == ["b", "a", "c"]


@pytest.mark.parametrize("body", [b"", b"small", LARGE])
def test_one_write_is_shown_without_its_body_and_its_body_on_request(queue: ShiftedQueue, body: bytes) -> None:
    queue.enqueue(queue.put("a", body, tenant="ü"))
    details = find(queue.queue, BUCKET, "a")
    assert details is not None
    assert details.header is not None
    assert (details.body_size, details.entry.tenant, details.entry.state) == (len(body), "ü", State.READY)
    assert (details.entry.size, len(details.sha256 or "")) == (queue.stats().bytes, 64)
    assert peek(queue.queue, BUCKET, "a", 3) == (body[:3], len(body))
    assert peek(queue.queue, BUCKET, "a", 10**6) == (body, len(body))


def test_what_is_not_in_the_queue_is_not_found(queue: ShiftedQueue) -> None:
    assert find(queue.queue, BUCKET, "a") is None
    assert peek(queue.queue, BUCKET, "a", 3) is None


def test_a_write_of_a_newer_wire_version_is_listed_and_shown_as_far_as_it_is_understood(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", tenant="t"))
    record = queue.client.hget(queue.prefix + "write", f"{BUCKET}/a")
    assert isinstance(record, bytes)
    queue.client.hset(queue.prefix + "write", f"{BUCKET}/a", b"\x02" + record[1:])
    details = find(queue.queue, BUCKET, "a")
    assert details is not None
    assert (details.entry.tenant, details.header, details.sha256) == ("t", None, None)
