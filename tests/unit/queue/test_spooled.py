"""Spooled writes are accepted unless a newer write of their name is known; a replay never makes an older one win."""

from __future__ import annotations

from struct import pack
from typing import Any, cast

import pytest
import redis

from penstock.queue.enqueue import Prepared
from penstock.queue.results import Outcome
from penstock.spool.recent import Recent
from tests.support.expiry import let_pass
from tests.support.queue import LARGE, START, ShiftedQueue

SECOND = 1_000_000
HOURS = 7200


def spooled(queue: ShiftedQueue, write: Prepared, *, after: int, floor: int = 0) -> Prepared:
    """A write that its host accepted at ``after``, µs, with what `settled` says now."""
    recent = Recent(queue.client, queue.prefix)
    recent.refresh(after)
    return write._replace(head=write.head + pack(">QQQ", after, floor, recent.newest(write.name)) + recent.cursor)


def replay(queue: ShiftedQueue, *writes: Prepared) -> list[bool]:
    """Which of them were accepted."""
    return [seq > 0 for seq, _ in queue.enqueue(*writes)]


def test_a_spooled_write_of_an_idle_name_is_accepted_with_a_number_of_today(queue: ShiftedQueue) -> None:
    queue.advance(60)
    ((seq, coalesced),) = queue.enqueue(spooled(queue, queue.put("key"), after=START))
    assert (seq, coalesced) == (queue.now, False)


@pytest.mark.parametrize("state", ["waiting", "claimed", "stored", "dead", "delayed"])
def test_a_newer_write_supersedes_wherever_it_is_and_an_older_one_does_not(queue: ShiftedQueue, state: str) -> None:
    for key in ("older", "newer"):
        queue.enqueue(queue.put(key))
        if state != "waiting":
            batch = queue.claim_now()
            if state != "claimed":
                outcome = {"stored": Outcome.STORED, "dead": Outcome.DEAD, "delayed": Outcome.RETRY}[state]
                queue.settle(batch, outcome, delay=3600)
        queue.advance(20)
    between = START + 10 * SECOND
    writes = [spooled(queue, queue.put(key), after=between) for key in ("older", "newer")]
    assert replay(queue, *writes) == [True, False]


def test_writes_of_a_key_in_one_replay_do_not_supersede_each_other(queue: ShiftedQueue) -> None:
    queue.advance(60)
    writes = [spooled(queue, queue.put("key", b"%d" % number), after=START + number) for number in range(3)]
    assert replay(queue, *writes) == [True] * 3


def test_two_hosts_spools_end_with_the_write_that_was_accepted_last_whoever_replays_first(queue: ShiftedQueue) -> None:
    queue.advance(60)
    assert replay(queue, spooled(queue, queue.put("a"), after=START + 10)) == [True]
    queue.advance(1)
    assert replay(queue, spooled(queue, queue.put("a"), after=START + 20)) == [True]
    assert replay(queue, spooled(queue, queue.put("a"), after=START + 15)) == [False]
    let_pass(queue.client, queue.prefix, HOURS)
    queue.advance(HOURS)
    assert replay(queue, spooled(queue, queue.put("a"), after=START + 25)) == [True], "one that was cut off for longer"


def test_a_replays_call_is_remembered_for_as_long_as_its_sender_may_be_cut_off(queue: ShiftedQueue) -> None:
    queue.advance(60)
    call = [[spooled(queue, queue.put("key"), after=START)]]
    first = queue.send(call, number=7)
    queue.send([[queue.put("key")]], number=7)  # the call as its producer had sent it, late
    let_pass(queue.client, queue.prefix, 100 * HOURS)
    assert queue.send(call, number=7) == first
    queue.send([[queue.put("key")]], number=8)
    let_pass(queue.client, queue.prefix, 599)
    assert queue.client.exists(*queue.client.keys(queue.prefix + "call:*"))
    let_pass(queue.client, queue.prefix, 10)
    assert not queue.client.keys(queue.prefix + "call:*"), "a producer's own is not"


def test_a_write_after_which_the_host_spooled_does_not_supersede_by_the_clocks_error(queue: ShiftedQueue) -> None:
    ((seq, _),) = queue.enqueue(queue.put("key"))
    assert replay(queue, spooled(queue, queue.put("key"), after=seq - 5, floor=seq)) == [True]


def test_numbers_ahead_of_the_clock_after_a_loss_are_taken_for_the_times_they_were_given(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("key"))
    queue.advance(10)
    queue.change_server("second")  # numbers are a minute ahead from now on
    queue.enqueue(queue.put("other"))
    queue.advance(8)
    queue.enqueue(queue.put("key"))
    lost = queue.now
    queue.advance(5)
    queue.change_server("third")
    queue.enqueue(queue.put("other"))
    queue.advance(5)
    assert replay(
        queue,
        spooled(queue, queue.put("key"), after=lost - SECOND),
        spooled(queue, queue.put("key"), after=lost + 2 * SECOND),
    ) == [False, True]


def test_what_ended_between_the_senders_look_and_the_call_counts(queue: ShiftedQueue) -> None:
    queue.advance(10)
    write = spooled(queue, queue.put("key"), after=START)
    queue.enqueue(queue.put("key"))
    queue.settle(queue.claim_now())
    assert replay(queue, write) == [False]


def test_a_sender_that_has_not_seen_much_of_what_ended_must_look_again(queue: ShiftedQueue) -> None:
    queue.advance(10)
    write = spooled(queue, queue.put("key"), after=START)
    for number in range(100):
        queue.enqueue(queue.put(f"{number}"))
        queue.settle(queue.claim_now())
    before = queue.stats()
    with pytest.raises(redis.exceptions.ResponseError, match="LOOK again"):
        queue.send([[write]], number=1000)
    assert queue.stats().accepted == before.accepted
    # Under the same number: it was not remembered.
    (outcome,) = queue.send([[spooled(queue, queue.put("key"), after=START)]], number=1000)
    assert isinstance(outcome, list)
    assert outcome[0][0] > 0


def test_a_superseded_large_body_is_gone_at_once_and_nothing_is_counted(queue: ShiftedQueue) -> None:
    queue.advance(10)
    queue.enqueue(queue.put("key"))
    before = queue.stats()
    write = spooled(queue, queue.put("key", LARGE), after=START)
    assert replay(queue, write) == [False]
    assert not cast("Any", queue.client).keys(queue.prefix + "blob:*")
    after = queue.stats()
    assert (after.bytes, after.accepted) == (before.bytes, before.accepted)


def test_the_sender_finds_the_tags_that_the_scripts_write(queue: ShiftedQueue) -> None:
    ((seq, _),) = queue.enqueue(queue.put("key"))
    queue.settle(queue.claim_now())
    recent = Recent(queue.client, queue.prefix)
    recent.refresh(0)
    assert recent.newest(queue.put("key").name) == seq
