"""Where an accepted write stands and how it ended, as the queue tells it to whoever waits for it."""

from __future__ import annotations

from typing import Any, cast

import pytest
import redis

from penstock.queue import change, dead, look
from penstock.queue.client import SETTLE_STEP
from penstock.queue.enqueue import Prepared
from penstock.queue.names import LAYOUT_VERSION
from penstock.queue.place import Ended, More, Place, Question, Waiting, decode_place
from penstock.queue.results import Outcome, Settlement
from tests.support.queue import BUCKET, LEASE, MAX_ATTEMPTS, REFUSED, ShiftedQueue

ENTRIES = 5000
"""Ends of batches that the queue remembers at least (settled.lua)."""
PAGE = 200
"""Of them, how many one call looks through (place.lua)."""


def _ask(queue: ShiftedQueue, question: Question) -> Place:
    one = question
    return decode_place(queue.queue.run("place", one.name, one.seq, one.after, one.cursor, one.newer, 1), question)


def _place(queue: ShiftedQueue, write: Prepared, seq: int) -> str:
    """Its state while it is in the queue, else how it ended."""
    question = Question.of(write.name, seq)
    while isinstance(found := _ask(queue, question), More):
        question = found.again
    assert isinstance(found, Waiting | Ended)
    return found.state if isinstance(found, Waiting) else found.outcome


def _enqueue(queue: ShiftedQueue, write: Prepared) -> int:
    ((seq, _),) = queue.enqueue(write)
    return seq


def _end_others(queue: ShiftedQueue, entries: int) -> None:
    """So many more batches of one write each, as settle notes them."""
    last = queue.queue.counters()["last"]
    pipe = queue.client.pipeline(transaction=False)
    for _ in range(entries):
        pipe.xadd(queue.prefix + "settled", {"s": last.to_bytes(8) + bytes(16)})
    pipe.execute()


def test_a_write_is_told_by_its_state_until_it_is_stored(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    seq = _enqueue(queue, write)
    assert _place(queue, write, seq) == "ready"
    batch = queue.claim_now()
    assert _place(queue, write, seq) == "inflight"
    queue.settle(batch, Outcome.RETRY, delay=1)
    assert _place(queue, write, seq) == "delayed"
    queue.advance(1)
    queue.sweep()
    assert _place(queue, write, seq) == "ready"
    queue.settle(queue.claim_now())
    assert _place(queue, write, seq) == "stored"


@pytest.mark.parametrize("writes", [1, 100, 101, 250])
def test_every_write_of_a_batch_is_remembered_whatever_its_size(queue: ShiftedQueue, writes: int) -> None:
    deletes = [queue.delete(f"{number:03}") for number in range(writes)]
    seqs = [seq for seq, _ in queue.enqueue(*deletes)]
    queue.settle(queue.claim_now(max_items=1000))
    assert {_place(queue, write, seq) for write, seq in zip(deletes, seqs, strict=True)} == {"stored"}
    entries = cast("Any", queue.client).xrange(queue.prefix + "settled")
    assert [len(entry[b"s"]) for _, entry in entries] == [
        8 + 24 * min(SETTLE_STEP, writes - first) for first in range(0, writes, SETTLE_STEP)
    ]


def test_a_dead_write_is_told_with_its_failure_and_waits_again_when_it_is_retried(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    seq = _enqueue(queue, write)
    queue.settle(queue.claim_now(), Outcome.DEAD)
    assert _ask(queue, Question.of(write.name, seq)) == Ended("dead", REFUSED)
    queue.queue.retry_dead([seq])
    assert _place(queue, write, seq) == "ready"
    queue.settle(queue.claim_now())
    assert _place(queue, write, seq) == "stored"


def test_a_write_that_failed_while_there_is_no_room_for_dead_letters_is_parked(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=1)
    write = queue.put("a")
    seq = _enqueue(queue, write)
    queue.settle(queue.claim_now(), Outcome.DEAD)
    assert _place(queue, write, seq) == "parked"


def test_a_write_whose_place_was_taken_is_superseded_before_and_after_the_newer_one_is_stored(
    queue: ShiftedQueue,
) -> None:
    write = queue.put("a")
    old, new = _enqueue(queue, write), _enqueue(queue, write)
    assert _place(queue, write, old) == "superseded"
    queue.settle(queue.claim_now())
    assert (_place(queue, write, old), _place(queue, write, new)) == ("superseded", "stored")


@pytest.mark.parametrize("end", ["settle", "release", "sweep"])
def test_a_write_that_failed_while_a_newer_one_waited_is_superseded(queue: ShiftedQueue, end: str) -> None:
    write = queue.put("a")
    old = _enqueue(queue, write)
    batch = queue.claim_now()
    new = _enqueue(queue, write)
    assert (_place(queue, write, old), _place(queue, write, new)) == ("inflight", "ready")
    if end == "settle":
        queue.settle(batch, Outcome.RETRY)
    elif end == "release":
        queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS)
    else:
        queue.advance(LEASE)
        queue.sweep()
    assert (_place(queue, write, old), _place(queue, write, new)) == ("superseded", "ready")
    queue.settle(queue.claim_now(), Outcome.DEAD)
    assert (_place(queue, write, old), _place(queue, write, new)) == ("superseded", "dead")


def test_a_write_that_was_stored_while_a_newer_one_waited_is_stored(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    old = _enqueue(queue, write)
    batch = queue.claim_now()
    _enqueue(queue, write)
    queue.settle(batch)
    assert _place(queue, write, old) == "stored"


def test_a_dead_write_that_a_newer_stored_one_made_pointless_is_superseded(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    old = _enqueue(queue, write)
    queue.settle(queue.claim_now(), Outcome.DEAD)
    _enqueue(queue, write)
    queue.settle(queue.claim_now())
    assert _place(queue, write, old) == "superseded"


def test_a_purged_write_is_told_as_such_whether_it_waited_or_was_dead(queue: ShiftedQueue) -> None:
    waiting, buried = queue.put("waiting"), queue.put("buried")
    dead_seq = _enqueue(queue, buried)
    queue.settle(queue.claim_now(), Outcome.DEAD)
    seq = _enqueue(queue, waiting)
    (found,) = [entry for page in look.pages(queue.queue, look.Filter()) for entry in page]
    assert change.purge(queue.queue, [found]) == "p"
    assert dead.purge(queue.queue, [dead_seq]) == 1
    assert (_place(queue, waiting, seq), _place(queue, buried, dead_seq)) == ("purged", "purged")


def test_what_never_was_in_the_queue_or_was_lost_with_redis_memory_is_not_called_superseded(
    queue: ShiftedQueue,
) -> None:
    write = queue.put("a")
    seq = _enqueue(queue, write)
    now = queue.now
    queue.client.unlink(*queue.all_keys())
    queue.now = now + 1
    assert _place(queue, write, seq) == "forgotten"
    queue.settle(queue.claimed(queue.put("b")))  # another name says nothing
    assert _place(queue, write, seq) == "forgotten"


def test_an_older_write_of_the_name_supersedes_nothing(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    _enqueue(queue, write)
    batch = queue.claim_now()
    lost = _enqueue(queue, write)
    queue.settle(batch)  # the older one, after the other was accepted
    now = queue.now
    queue.client.unlink(*[key for key in queue.all_keys() if not key.endswith(b"settled")])
    queue.now = now + 1
    assert _place(queue, write, lost) == "forgotten"
    _enqueue(queue, queue.put("b"))


def test_a_number_that_stands_across_two_others_by_chance_is_not_taken_for_the_write(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    seq = _enqueue(queue, write)
    queue.settle(queue.claim_now(), Outcome.DEAD)
    _enqueue(queue, write)
    queue.settle(queue.claim_now())
    last = queue.queue.counters()["last"]
    queue.client.xadd(queue.prefix + "settled", {"p": last.to_bytes(8) + bytes(4) + seq.to_bytes(8) + bytes(4)})
    assert _place(queue, write, seq) == "superseded"


def test_an_end_is_found_among_thousands_in_bounded_steps(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("earlier")))
    write = queue.put("a")
    old, new = _enqueue(queue, write), _enqueue(queue, write)
    queue.settle(queue.claim_now())
    _end_others(queue, ENTRIES - 1)
    steps = 0
    question = Question.of(write.name, new)
    while isinstance(found := _ask(queue, question), More):
        question, steps = found.again, steps + 1
    assert found == Ended("stored")
    assert steps == ENTRIES // PAGE - 1
    assert _place(queue, write, old) == "superseded", "what is remembered reaches back to before the write"


def test_an_end_that_is_too_long_ago_is_forgotten_and_memory_is_bounded(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    old, new = _enqueue(queue, write), _enqueue(queue, write)
    queue.settle(queue.claim_now())
    _end_others(queue, ENTRIES + 200)
    queue.settle(queue.claimed(queue.put("b")))  # cuts the stream
    assert queue.client.xlen(queue.prefix + "settled") <= ENTRIES + 100  # a node of the stream holds that many
    assert (_place(queue, write, old), _place(queue, write, new)) == ("forgotten", "forgotten")
    newest = _enqueue(queue, write)
    assert _place(queue, write, old) == "forgotten", "it may have been stored before it was superseded"
    assert _place(queue, write, newest) == "ready"


def test_who_saw_the_write_wait_needs_to_look_no_further_back(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    old = _enqueue(queue, write)
    _end_others(queue, ENTRIES + 200)
    _enqueue(queue, queue.put("b"))  # numbers go on
    seen = _ask(queue, Question.of(write.name, old))
    assert isinstance(seen, Waiting)
    _enqueue(queue, write)
    assert _ask(queue, seen.again) == Ended("superseded")


def test_a_stale_settle_ends_nothing(queue: ShiftedQueue) -> None:
    write = queue.put("a")
    seq = _enqueue(queue, write)
    batch = queue.claim_now()
    queue.advance(LEASE)
    queue.sweep()
    queue.queue.settle(batch.token, [Settlement(write.name, Outcome.STORED)], max_attempts=MAX_ATTEMPTS)
    assert _place(queue, write, seq) == "ready"


def test_keys_of_any_kind_are_told_apart(queue: ShiftedQueue) -> None:
    writes = [queue.put(key, bucket=bucket) for bucket in (BUCKET, "other") for key in ("a", "ü", "a/b", "@")]
    first = [_enqueue(queue, write) for write in writes]
    second = [_enqueue(queue, write) for write in writes[::2]]
    queue.settle(queue.claim_now())
    assert [_place(queue, write, seq) for write, seq in zip(writes, first, strict=True)] == [
        "superseded", "stored", "superseded", "stored", "superseded", "stored", "superseded", "stored",
    ]  # fmt: skip
    assert {_place(queue, write, seq) for write, seq in zip(writes[::2], second, strict=True)} == {"stored"}


def test_a_queue_of_another_layout_is_not_interpreted(queue: ShiftedQueue) -> None:
    seq = _enqueue(queue, queue.put("a"))
    queue.client.hset(queue.prefix + "meta", "layout", "999")
    with pytest.raises(redis.exceptions.ResponseError, match="LAYOUT 999"):
        _place(queue, queue.put("a"), seq)
    queue.client.hset(queue.prefix + "meta", "layout", LAYOUT_VERSION)
