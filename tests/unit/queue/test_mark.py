"""Section 6 of the design, the scripts' part, rule by rule: the mark, what is retained, and the guard's verdicts."""

from __future__ import annotations

import pytest

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.contested import Contested, Judged, Verdict, due, judge
from penstock.queue.results import Batch, Outcome, Settled
from tests.support.queue import LARGE, LEASE, MAX_ATTEMPTS, ShiftedQueue, body_of

HOLD, BUSY, RECHECK = 60.0, 5.0, 5.0


def contested(queue: ShiftedQueue) -> int:
    return queue.stats().contested


def looks(queue: ShiftedQueue, **options: int) -> list[Contested]:
    return due(queue.queue, hold=HOLD, busy=BUSY, **options).names


def verdict(queue: ShiftedQueue, one: Contested, verdict: Verdict) -> Judged:
    (answer,) = judge(queue.queue, [(one, verdict)], recheck=RECHECK)
    return answer


def unknown(queue: ShiftedQueue, batch: Batch, **options: float) -> list[Settled]:
    return queue.settle(batch, Outcome.RETRY_UNKNOWN, delay=options.get("delay", 0))


def stored_while_marked(queue: ShiftedQueue, body: bytes = b"body") -> int:
    """A name whose first request got lost and whose second was answered: idle, marked, retained."""
    unknown(queue, queue.claimed(queue.put("a", body)))
    queue.sweep()
    batch = queue.claim_now()
    assert queue.settle(batch) == [Settled.STORED]
    return batch.writes[0].seq


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


def test_retain_what_is_stored_while_the_mark_stands_is_kept_and_counted(queue: ShiftedQueue) -> None:
    seq = stored_while_marked(queue, b"x" * 500)
    stats = queue.stats()
    assert (stats.items, stats.unfinished) == (0, 0)
    assert stats.bytes > 500
    queue.advance(GUARD_SECONDS)
    (one,) = looks(queue)
    assert (one.bucket, one.key, one.seq, one.is_delete) == ("bucket", "a", seq, False)


def test_retain_a_newer_accepted_write_does_not_replace_what_is_retained(queue: ShiftedQueue) -> None:
    seq = stored_while_marked(queue, b"stored")
    queue.enqueue(queue.put("a", b"newer"))
    queue.settle(queue.claim_now(), Outcome.DEAD)
    queue.advance(GUARD_SECONDS)
    (one,) = looks(queue)
    assert one.seq == seq
    assert verdict(queue, one, Verdict.REPAIR) is Judged.REPAIR_QUEUED
    assert body_of(queue.claim_now().writes[0]) == b"stored"


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_retain_a_claimed_write_that_a_newer_one_follows_can_still_be_retained(
    queue: ShiftedQueue, body: bytes
) -> None:
    unknown(queue, queue.claimed(queue.put("a", b"first")))
    queue.enqueue(queue.put("a", body))
    batch = queue.claim_now()
    queue.enqueue(queue.put("a", b"newest"))
    assert queue.settle(batch) == [Settled.STORED]
    queue.settle(queue.claim_now(), Outcome.DEAD)
    queue.advance(GUARD_SECONDS)
    (one,) = looks(queue)
    assert one.seq == batch.writes[0].seq
    verdict(queue, one, Verdict.REPAIR)
    repair = queue.claim_now().writes[0]
    record = repair.record()
    found = record.body if record.blob_id is None else queue.queue.fetch_blobs([record.blob_id])[0]
    assert found == body


def test_retain_a_newer_stored_write_replaces_the_older_one(queue: ShiftedQueue) -> None:
    stored_while_marked(queue, LARGE)
    newer = queue.claimed(queue.put("a", b"newer"))
    queue.settle(newer)
    queue.advance(GUARD_SECONDS)
    (one,) = looks(queue)
    assert one.seq == newer.writes[0].seq
    assert queue.stats().bytes < len(LARGE)


def test_without_anything_stored_since_only_the_mark_is_kept_and_goes_without_a_look(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    unknown(queue, batch)
    queue.sweep()
    queue.settle(queue.claim_now(), Outcome.DEAD)
    queue.advance(GUARD_SECONDS)
    found = due(queue.queue, hold=HOLD, busy=BUSY)
    assert (found.cleared, found.names, found.wait) == (1, [], None)
    assert contested(queue) == 0


def test_deadmark_a_dead_letter_leaves_mark_and_retained_payload(queue: ShiftedQueue) -> None:
    seq = stored_while_marked(queue)
    queue.bury(queue.put("a", b"bad"))
    assert contested(queue) == 1
    queue.advance(GUARD_SECONDS)
    assert [one.seq for one in looks(queue)] == [seq]


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


def test_a_delete_is_retained_as_a_marker(queue: ShiftedQueue) -> None:
    unknown(queue, queue.claimed(queue.delete("a")))
    queue.sweep()
    queue.settle(queue.claim_now())
    queue.advance(GUARD_SECONDS)
    (one,) = looks(queue)
    assert one.is_delete
    verdict(queue, one, Verdict.REPAIR)
    assert queue.claim_now().writes[0].is_delete


def test_sup_a_dead_letter_older_than_what_was_stored_is_not_replayed(queue: ShiftedQueue) -> None:
    """A letter imported after the newer write was stored; storing removes those that are there."""
    unknown(queue, queue.claimed(queue.put("a", b"old")))
    queue.sweep()
    queue.settle(queue.claim_now(), Outcome.DEAD)
    letter = queue.queue.dead_seqs("bucket", "a")[0].to_bytes(8)
    info = queue.client.hget(queue.prefix + "dead:info", letter)
    body = queue.client.hget(queue.prefix + "dead:body", letter)
    queue.settle(queue.claimed(queue.put("a", b"new")))
    assert queue.queue.dead_seqs("bucket", "a") == []
    assert queue.queue.run("import_dead", letter, info, body) == b"a"
    assert queue.queue.retry_dead([int.from_bytes(letter)]) == ["s"]


def test_retained_bytes_count_against_the_limit(queue: ShiftedQueue) -> None:
    stored_while_marked(queue, b"x" * 500)
    queue.queue.configure(size=queue.stats().bytes + 10)
    assert queue.refusal(queue.put("b", b"x" * 500)).args
