"""Section 6 of the design, the scripts' part, rule by rule: what marks a name, and how long the mark stands."""

from __future__ import annotations

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.results import Outcome, Settled
from tests.support.marks import contested, looks, stored_while_marked, unknown
from tests.support.queue import LEASE, MAX_ATTEMPTS, ShiftedQueue


def test_unk_an_unknown_outcome_marks_the_name_and_a_known_one_does_not(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("lost"))
    assert unknown(queue, batch) == [Settled.DELAYED]
    assert contested(queue) == 1
    queue.settle(queue.claimed(queue.put("refused")), Outcome.RETRY, delay=100)
    queue.settle(queue.claimed(queue.put("bad")), Outcome.DEAD)
    queue.settle(queue.claimed(queue.put("good")))
    assert contested(queue) == 1


def test_unk_holds_for_a_superseded_write_too(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a", b"old"))
    queue.enqueue(queue.put("a", b"new"))
    assert unknown(queue, batch) == [Settled.SUPERSEDED]
    assert contested(queue) == 1


def test_unk_holds_when_the_attempts_are_spent(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    for _ in range(MAX_ATTEMPTS - 1):
        assert unknown(queue, queue.claim_now()) == [Settled.DELAYED]
        queue.sweep()
    assert unknown(queue, queue.claim_now()) == [Settled.DEAD]
    assert contested(queue) == 1


def test_sweep_marks_every_write_of_an_expired_lease(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a"), queue.put("b"))
    queue.enqueue(queue.put("b", b"newer"))
    queue.advance(LEASE)
    assert queue.sweep().taken_back == 2
    assert contested(queue) == 2


def test_rel_marks_what_may_have_been_sent_and_nothing_else(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("sent"), queue.put("not-sent"))
    queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS, sent=[batch.writes[0].name])
    assert contested(queue) == 1
    queue.settle(queue.claim_now(), Outcome.NEVER_SENT)
    assert contested(queue) == 1
    queue.settle(queue.claim_now(), Outcome.MAYBE_SENT)
    assert contested(queue) == 2


def test_token_a_stale_settle_marks_nothing_and_clears_nothing(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS)
    assert unknown(queue, batch) == [Settled.LEASE_LOST]
    assert contested(queue) == 0


def test_rearm_every_arming_moves_the_deadline_on(queue: ShiftedQueue) -> None:
    unknown(queue, queue.claimed(queue.put("a")))
    queue.advance(GUARD_SECONDS - 1)
    queue.sweep()
    unknown(queue, queue.claim_now())
    queue.sweep()
    queue.settle(queue.claim_now())
    queue.advance(GUARD_SECONDS - 1e-6)
    assert looks(queue) == []
    queue.advance(1e-6)
    assert len(looks(queue)) == 1


def test_rearm_never_moves_the_deadline_back(queue: ShiftedQueue) -> None:
    unknown(queue, queue.claimed(queue.put("a")))
    queue.advance(-5)  # Redis's clock was set back
    queue.sweep()
    queue.advance(5)
    queue.sweep()
    batch = queue.claim_now()
    queue.advance(-5)
    unknown(queue, batch)
    queue.advance(5)
    queue.sweep()
    queue.settle(queue.claim_now())
    queue.advance(GUARD_SECONDS - 1e-6)
    assert looks(queue) == []


def test_hold_a_later_success_does_not_clear_the_mark(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    assert contested(queue) == 1
    queue.settle(queue.claimed(queue.put("a", b"newer")))
    assert contested(queue) == 1
