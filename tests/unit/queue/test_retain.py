"""Section 6 of the design, the scripts' part: what is retained while a name is marked, and after a dead letter."""

from __future__ import annotations

import pytest

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.contested import Judged, Verdict, due
from penstock.queue.results import Outcome, Settled
from tests.support.marks import BUSY, HOLD, contested, looks, stored_while_marked, unknown, verdict
from tests.support.queue import LARGE, ShiftedQueue, body_of


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
    assert queue.queue.run("import_dead", 1, letter, info, body) == b"a"
    assert queue.queue.retry_dead([int.from_bytes(letter)]) == ["s"]


def test_retained_bytes_count_against_the_limit(queue: ShiftedQueue) -> None:
    stored_while_marked(queue, b"x" * 500)
    queue.queue.configure(size=queue.stats().bytes + 10)
    assert queue.refusal(queue.put("b", b"x" * 500)).args
