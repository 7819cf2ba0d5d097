"""Moving and purging single writes, and the note that is kept of it."""

from __future__ import annotations

import pytest

from penstock.queue import audit, blocks, change, look
from penstock.queue.look import Filter, State
from penstock.queue.results import Outcome
from tests.support.queue import BUCKET, LARGE, ShiftedQueue, keys_of


def _purge(queue: ShiftedQueue, **where: object) -> str:
    pages = look.pages(queue.queue, Filter(**where), whole=True)  # type: ignore[arg-type]
    return "".join(change.purge(queue.queue, page) for page in list(pages))


def test_a_moved_write_goes_first_and_keeps_its_age(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", LARGE, priority="low"), queue.put("b", priority="low"))
    queue.advance(1)
    assert change.move(queue.queue, BUCKET, "b", "critical") == "m"
    assert change.move(queue.queue, BUCKET, "b", "critical") == "="
    assert queue.stats().oldest_age["critical"] == 1
    assert keys_of(queue.claim_now(max_items=1)) == ["b"]


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.MAYBE_SENT, Outcome.DEAD])
def test_a_write_with_a_history_is_moved_with_its_attempts_and_where_it_is(
    queue: ShiftedQueue, outcome: Outcome
) -> None:
    queue.queue.configure(dead_size=1)
    queue.settle(queue.claimed(queue.put("a")), outcome, delay=60)
    before = look.find(queue.queue, BUCKET, "a")
    assert change.move(queue.queue, BUCKET, "a", "high") == "m"
    after = look.find(queue.queue, BUCKET, "a")
    assert before is not None
    assert after is not None
    assert (after.entry.priority, after.entry.state, after.entry.attempts) == ("high", before.entry.state, 1)
    assert after.entry.due_at == before.entry.due_at


def test_what_is_in_flight_or_gone_is_not_moved(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a"))
    queue.enqueue(queue.put("a", b"behind it"))
    assert change.move(queue.queue, BUCKET, "a", "high") == "i"
    assert change.move(queue.queue, BUCKET, "b", "high") == "-"


def test_a_moved_write_of_a_set_aside_flow_is_still_held_up(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    blocks.block(queue.queue, BUCKET, None)
    queue.claim(max_wait=0)
    change.move(queue.queue, BUCKET, "a", "critical")
    assert queue.claim(max_wait=0).batches == []
    blocks.unblock(queue.queue, BUCKET, None)
    assert keys_of(queue.claim_now()) == ["a"]


def test_a_purge_removes_what_waits_in_whatever_state_and_leaves_what_is_in_flight(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("delayed", LARGE)), Outcome.RETRY, delay=60)
    queue.queue.configure(dead_size=1)
    queue.settle(queue.claimed(queue.put("parked")), Outcome.DEAD)
    queue.claimed(queue.put("flying"))
    queue.enqueue(queue.put("ready", LARGE), queue.put("kept", bucket="other"))
    assert sorted(_purge(queue, bucket=BUCKET)) == ["i", "p", "p", "p"]
    stats = queue.stats()
    assert (stats.items, stats.inflight, stats.delayed, stats.parked) == (2, 1, 0, 0)
    assert _purge(queue, state=State.READY) == "p"
    assert _purge(queue, state=State.DELAYED) == ""


def test_a_purge_takes_no_write_that_was_accepted_after_it_looked(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", b"old"))
    (page,) = look.pages(queue.queue, Filter())
    queue.enqueue(queue.put("a", b"new"))
    assert change.purge(queue.queue, page) == "-"
    assert keys_of(queue.claim_now()) == ["a"]


def test_a_purge_of_thousands_sees_every_one(queue: ShiftedQueue) -> None:
    for start in range(0, 1000, 250):
        queue.enqueue(*[queue.put(f"{number}", tenant=f"t{number % 50}") for number in range(start, start + 250)])
    purged = "".join(change.purge(queue.queue, page) for page in look.pages(queue.queue, Filter(), whole=True))
    assert (purged.count("p"), queue.stats().items) == (1000, 0)


def test_a_purge_of_a_set_aside_flow_leaves_nothing_of_it(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"), queue.put("b", tenant="t"))
    blocks.block(queue.queue, BUCKET, None)
    queue.claim(max_wait=0)
    assert _purge(queue) == "pp"
    assert queue.stats().set_aside == 0


def test_the_audit_shows_the_newest_first_and_keeps_a_bounded_number(queue: ShiftedQueue) -> None:
    for number in range(3):
        audit.record(queue.queue, "me@here", "queue purge", {"bucket": "ü"}, number, "stopped" if number else None)
    newest, second, oldest = audit.entries(queue.queue, limit=9)
    assert (newest.count, newest.error, oldest.error) == (2, "stopped", None)
    assert (second.who, second.command, second.what) == ("me@here", "queue purge", {"bucket": "ü"})
    assert len(audit.entries(queue.queue, limit=2)) == 2
    with queue.client.pipeline(transaction=False) as pipe:
        for _ in range(11_000):
            pipe.xadd(queue.prefix + "audit", {"who": "x"})
        pipe.execute()
    audit.record(queue.queue, "me@here", "queue purge", {}, 0)
    assert 10_000 <= queue.client.xlen(queue.prefix + "audit") <= 10_200
