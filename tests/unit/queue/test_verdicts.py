"""Section 6 of the design, the scripts' part: what the queue makes of the guard's verdicts."""

from __future__ import annotations

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.contested import Judged, Verdict
from penstock.queue.results import Outcome, Settled
from tests.support.marks import BUSY, HOLD, RECHECK, contested, looks, stored_while_marked, unknown, verdict
from tests.support.queue import LARGE, ShiftedQueue


def test_keep_a_repair_leaves_mark_and_retained_payload_until_a_clean_look(queue: ShiftedQueue) -> None:
    seq = stored_while_marked(queue, LARGE)
    queue.advance(GUARD_SECONDS)
    assert verdict(queue, looks(queue)[0], Verdict.REPAIR) is Judged.REPAIR_QUEUED
    assert contested(queue) == 1
    batch = queue.claim_now()
    assert (batch.writes[0].seq, batch.writes[0].attempts) == (seq, 1)
    assert queue.settle(batch) == [Settled.REPAIRED]
    assert contested(queue) == 1
    queue.advance(RECHECK)
    (one,) = looks(queue)
    assert one.seq == seq
    assert verdict(queue, one, Verdict.FINE) is Judged.CLEARED
    assert (contested(queue), queue.stats().bytes) == (0, 0)


def test_keep_a_dead_repair_drops_the_retained_copy(queue: ShiftedQueue) -> None:
    seq = stored_while_marked(queue, LARGE)
    queue.advance(GUARD_SECONDS)
    verdict(queue, looks(queue)[0], Verdict.REPAIR)
    assert queue.settle(queue.claim_now(), Outcome.DEAD) == [Settled.DEAD]
    assert queue.queue.dead_seqs("bucket", "a") == [seq]
    assert queue.stats().bytes == 0
    assert queue.queue.retry_dead([seq]) == ["q"]
    assert queue.settle(queue.claim_now()) == [Settled.STORED]


def test_keep_a_repair_superseded_while_it_waits_leaves_what_is_retained(queue: ShiftedQueue) -> None:
    stored_while_marked(queue, LARGE)
    queue.advance(GUARD_SECONDS)
    verdict(queue, looks(queue)[0], Verdict.REPAIR)
    assert queue.enqueue(queue.put("a", b"newer"))[0][1], "not coalesced"
    queue.settle(queue.claim_now(), Outcome.DEAD)
    queue.advance(RECHECK)
    verdict(queue, looks(queue)[0], Verdict.REPAIR)
    record = queue.claim_now().writes[0].record()
    assert queue.queue.fetch_blobs([record.blob_id or ""]) == [LARGE]


def test_keep_a_repair_that_is_purged_leaves_what_is_retained(queue: ShiftedQueue) -> None:
    seq = stored_while_marked(queue, LARGE)
    queue.advance(GUARD_SECONDS)
    (one,) = looks(queue)
    verdict(queue, one, Verdict.REPAIR)
    assert queue.queue.run("purge", one.name, seq.to_bytes(8)) == b"p"
    queue.advance(RECHECK)
    assert [one.seq for one in looks(queue)] == [seq]


def test_cas_a_verdict_on_an_older_state_is_refused(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    queue.advance(GUARD_SECONDS)
    (seen,) = looks(queue)
    queue.settle(queue.claimed(queue.put("a", b"newer")))  # what is retained has changed
    assert verdict(queue, seen, Verdict.FINE) is Judged.CHANGED
    assert verdict(queue, seen, Verdict.REPAIR) is Judged.CHANGED
    queue.advance(HOLD)
    (seen,) = looks(queue)
    unknown(queue, queue.claimed(queue.put("a", b"newest")))  # the mark was made again
    queue.sweep()
    queue.settle(queue.claim_now(), Outcome.DEAD)
    assert verdict(queue, seen, Verdict.FINE) is Judged.CHANGED
    assert contested(queue) == 1


def test_rearm_a_verdict_from_before_the_mark_was_made_again_is_refused_although_it_is_due(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    queue.advance(GUARD_SECONDS)
    (seen,) = looks(queue)
    unknown(queue, queue.claimed(queue.put("a", b"newer")))
    queue.sweep()
    queue.settle(queue.claim_now(), Outcome.DEAD)
    queue.advance(GUARD_SECONDS)
    assert verdict(queue, seen, Verdict.FINE) is Judged.CHANGED
    assert contested(queue) == 1


def test_cas_a_verdict_on_a_mark_that_is_not_due_is_refused(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    queue.advance(GUARD_SECONDS)
    (seen,) = looks(queue)
    queue.advance(-1e-6)  # Redis's clock was set back
    assert verdict(queue, seen, Verdict.FINE) is Judged.CHANGED
    assert contested(queue) == 1


def test_cas_a_verdict_on_a_busy_name_is_refused_and_it_is_looked_at_when_idle(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    queue.advance(GUARD_SECONDS)
    (seen,) = looks(queue)
    queue.enqueue(queue.put("a", b"newer"))
    assert verdict(queue, seen, Verdict.REPAIR) is Judged.BUSY
    queue.advance(HOLD)
    assert looks(queue) == []
    queue.settle(queue.claim_now(), Outcome.DEAD)
    queue.advance(BUSY)
    assert len(looks(queue)) == 1


def test_two_guards_do_not_look_at_the_same_name_and_one_that_dies_is_replaced(queue: ShiftedQueue) -> None:
    stored_while_marked(queue)
    queue.advance(GUARD_SECONDS)
    assert len(looks(queue)) == 1
    assert looks(queue) == []
    queue.advance(HOLD)
    assert len(looks(queue)) == 1
