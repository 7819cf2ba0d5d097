"""Rule ALONE: a swept write is claimed by a process that holds no other claim, and by itself."""

from __future__ import annotations

from penstock.queue.blocks import block, unblock
from penstock.queue.look import Filter, State, pages
from penstock.queue.results import Batch, Outcome, Settled
from tests.support.queue import BUCKET, LEASE, MAX_ATTEMPTS, ShiftedQueue, keys_of


def swept(queue: ShiftedQueue, *keys: str, priority: str = "normal", tenant: str = "") -> Batch:
    batch = queue.claimed(*(queue.put(key, priority=priority, tenant=tenant) for key in keys))
    queue.advance(LEASE)
    assert queue.sweep().taken_back == len(keys)
    return batch


def test_swept_writes_are_batches_of_one_and_the_others_share_theirs(queue: ShiftedQueue) -> None:
    swept(queue, "a", "b")
    queue.enqueue(queue.put("c"), queue.put("d"))
    found = []
    for _ in range(3):
        batch = queue.claim_now()
        found.append((keys_of(batch), batch.alone))
        queue.settle(batch)
    assert sorted(found) == [(["a"], True), (["b"], True), (["c", "d"], False)]


def test_a_process_that_holds_something_gets_none_and_is_told(queue: ShiftedQueue) -> None:
    swept(queue, "a")
    reply = queue.claim(max_wait=0, holds_none=False)
    assert (reply.batches, reply.alone) == ([], True)
    queue.enqueue(queue.put("b"))
    reply = queue.claim(max_wait=0, holds_none=False)
    assert ([keys_of(batch) for batch in reply.batches], reply.alone) == ([["b"]], True)
    reply = queue.claim(max_wait=0)
    assert ([keys_of(batch) for batch in reply.batches], reply.alone) == ([["a"]], False)


def test_no_second_batch_comes_along_with_a_swept_write(queue: ShiftedQueue) -> None:
    swept(queue, "a")
    queue.enqueue(*(queue.put(f"{n}") for n in range(100)))
    reply = queue.claim(batches=4)
    assert [keys_of(batch) for batch in reply.batches] == [["a"]]


def test_what_was_swept_and_what_is_due_take_turns(queue: ShiftedQueue) -> None:
    swept(queue, *"abc")
    queue.enqueue(*(queue.put(f"{n}", priority="critical") for n in range(60)))
    turns = [queue.claim_now().alone for _ in range(6)]
    assert turns == [True, False, True, False, True, False]


def test_a_swept_write_stays_alone_through_its_retries_until_it_is_dead(queue: ShiftedQueue) -> None:
    swept(queue, "a", "b")
    for _ in range(MAX_ATTEMPTS - 2):
        for _ in range(2):
            batch = queue.claim_now()
            assert (len(batch.writes), batch.alone) == (1, True)
            assert queue.settle(batch, Outcome.RETRY) == [Settled.DELAYED]
        queue.sweep()
    assert queue.settle(queue.claim_now(), Outcome.RETRY) == [Settled.DEAD]


def test_a_newer_write_of_the_name_is_not_alone(queue: ShiftedQueue) -> None:
    swept(queue, "a")
    queue.enqueue(queue.put("a", b"newer"), queue.put("b"))
    batch = queue.claim_now()
    assert (sorted(keys_of(batch)), batch.alone) == (["a", "b"], False)


def test_a_blocked_one_hides_no_other_and_comes_back_alone(queue: ShiftedQueue) -> None:
    swept(queue, *(f"{n}" for n in range(25)), tenant="t")
    swept(queue, "other")
    block(queue.queue, BUCKET, "t", reason="pause")
    reply = queue.claim(max_wait=0)
    if not reply.batches:  # so many were blocked that the step ended with them
        reply = queue.claim(max_wait=0)
    assert [keys_of(batch) for batch in reply.batches] == [["other"]]
    queue.settle(reply.batches[0])
    assert not queue.claim(max_wait=0).batches
    unblock(queue.queue, BUCKET, "t", reason="pause")
    seen = []
    for _ in range(60):
        for batch in queue.claim(max_wait=0).batches:
            assert (len(batch.writes), batch.alone) == (1, True)
            seen += keys_of(batch)
            queue.settle(batch)
    assert sorted(seen, key=int) == [f"{n}" for n in range(25)]


def test_they_count_as_ready_and_are_listed_moved_and_purged_as_such(queue: ShiftedQueue) -> None:
    batch = swept(queue, "a", "b")
    stats = queue.stats()
    assert (stats.ready["normal"], stats.unfinished) == (2, 2)
    assert stats.oldest_age["normal"] == LEASE
    for where in (Filter(), Filter(state=State.READY, bucket=BUCKET, tenant="")):
        entries = [entry for page in pages(queue.queue, where) for entry in page]
        assert sorted((entry.key, entry.state) for entry in entries) == [("a", State.READY), ("b", State.READY)]
    assert queue.queue.run("move", 0, batch.writes[0].name) == b"m"
    assert queue.stats().ready["critical"] == 1
    assert queue.queue.run("purge", batch.writes[1].name, batch.writes[1].seq.to_bytes(8)) == b"p"
    assert queue.stats().unfinished == 1


def test_a_paused_queue_gives_none(queue: ShiftedQueue) -> None:
    swept(queue, "a")
    block(queue.queue, None, None, reason="pause")
    reply = queue.claim(max_wait=0)
    assert (reply.batches, reply.alone) == ([], False)
