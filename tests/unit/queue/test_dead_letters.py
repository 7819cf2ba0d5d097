"""The dead-letter queue: what removes a letter, what retries it, and what happens when it is full."""

from __future__ import annotations

from penstock.queue.dead import purge
from penstock.queue.enqueue import Prepared
from penstock.queue.results import DeadLetter, Outcome, Settled, Settlement
from tests.support.queue import LEASE, MAX_ATTEMPTS, REFUSED, ShiftedQueue, body_of, keys_of


def _letters(queue: ShiftedQueue) -> list[DeadLetter]:
    return queue.queue.dead_letters(limit=1000)


def _charge(queue: ShiftedQueue) -> int:
    return len(queue.put("a").tail)


def test_sup_storing_removes_the_older_dead_letters_of_its_name_only(queue: ShiftedQueue) -> None:
    for body in (b"1", b"2"):
        queue.bury(queue.put("a", body), queue.put("b", body))
    queue.settle(queue.claimed(queue.put("a", b"3")))
    assert [letter.key for letter in _letters(queue)] == ["b", "b"]


def test_sup_a_newer_write_that_is_not_yet_stored_removes_nothing(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a"))
    queue.settle(queue.claimed(queue.put("a")), Outcome.RETRY, delay=60)
    assert len(_letters(queue)) == 1


def test_a_retried_dead_letter_is_queued_with_its_number_and_fresh_attempts(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a", b"body", priority="high", tenant="t"))
    (letter,) = _letters(queue)
    queue.advance(60)
    assert queue.queue.retry_dead([letter.seq]) == ["q"]
    (write,) = queue.claim_now().writes
    assert (write.seq, write.attempts, write.priority, write.tenant) == (letter.seq, 1, 1, b"t")
    assert (body_of(write), _letters(queue)) == (b"body", [])


def test_a_dead_letter_is_not_retried_over_a_newer_write_that_waits(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a"))
    (letter,) = _letters(queue)
    batch = queue.claimed(queue.put("a", b"newer"))
    assert queue.queue.retry_dead([letter.seq], force=True) == ["s"]
    queue.settle(batch)
    assert queue.queue.retry_dead([letter.seq], force=True) == ["-"]


def test_an_older_dead_letter_is_retried_only_by_force(queue: ShiftedQueue) -> None:
    for body in (b"1", b"2"):
        queue.bury(queue.put("a", body))
    older, newer = [letter.seq for letter in _letters(queue)]
    assert queue.queue.retry_dead([older]) == ["n"]
    assert queue.queue.retry_dead([older], force=True) == ["q"]
    assert queue.queue.retry_dead([newer]) == ["w"]
    queue.settle(queue.claim_now())
    assert queue.queue.retry_dead([newer]) == ["q"]


def test_an_older_dead_letter_that_died_again_is_still_the_older_one(queue: ShiftedQueue) -> None:
    for body in (b"1", b"2"):
        queue.bury(queue.put("a", body))
    older, newer = [letter.seq for letter in _letters(queue)]
    queue.queue.retry_dead([older], force=True)
    queue.settle(queue.claim_now(), Outcome.DEAD)
    assert queue.queue.retry_dead([older]) == ["n"]
    assert queue.queue.retry_dead([newer]) == ["q"]


def test_a_dead_letter_is_not_retried_into_a_full_queue(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a"))
    (letter,) = _letters(queue)
    queue.enqueue(queue.put("b"))
    queue.queue.configure(items=1)
    assert queue.queue.retry_dead([letter.seq]) == ["f"]
    queue.queue.configure(items=2, size=2 * _charge(queue) - 1)
    assert queue.queue.retry_dead([letter.seq]) == ["f"]
    queue.queue.configure(size=2 * _charge(queue))
    assert queue.queue.retry_dead([letter.seq]) == ["q"]


def test_thousands_of_dead_letters_are_retried_by_one_call(queue: ShiftedQueue) -> None:
    for start in range(0, 1200, 200):
        queue.bury(*[queue.delete(f"{number:04}") for number in range(start, start + 200)])
    seqs = [letter.seq for letter in queue.queue.dead_letters(limit=2000)]
    assert queue.queue.retry_dead([*seqs, 1]) == ["q"] * 1200 + ["-"]
    assert (queue.stats().dead, queue.stats().items) == (0, 1200)


def test_dead_letters_are_listed_oldest_or_newest_first(queue: ShiftedQueue) -> None:
    for key in ("c", "a", "b"):
        queue.bury(queue.put(key))
        queue.advance(1)
    assert [letter.key for letter in _letters(queue)] == ["c", "a", "b"]
    assert [letter.key for letter in queue.queue.dead_letters(limit=2, newest_first=True)] == ["b", "a"]


def test_a_name_that_dies_again_and_again_keeps_its_newest_dead_letters_only(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("other"))
    for number in range(20):
        queue.bury(queue.put("a", b"%02d" % number))
    letters = _letters(queue)
    assert [letter.key for letter in letters] == ["other"] + ["a"] * 16
    assert queue.queue.retry_dead([letters[-1].seq]) == ["q"]
    assert body_of(queue.claim_now().writes[0]) == b"19"


def test_a_write_that_fails_while_the_dead_letters_are_full_is_parked_and_kept(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=_charge(queue))
    batch = queue.claimed(queue.put("a"), queue.put("b", b"kept"))
    assert queue.settle(batch, Outcome.DEAD) == [Settled.DEAD, Settled.PARKED]
    stats = queue.stats()
    assert (stats.dead, stats.parked, stats.inflight, stats.items) == (1, 1, 0, 1)
    assert queue.claim(max_wait=0).batches == []
    assert queue.sweep().dead == 0


def test_parked_writes_move_on_when_the_dead_letters_make_room(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=_charge(queue))
    queue.settle(queue.claimed(queue.put("a"), queue.put("b")), Outcome.DEAD)
    (letter,) = _letters(queue)
    queue.queue.retry_dead([letter.seq])
    queue.settle(queue.claim_now())
    assert queue.sweep().dead == 1
    (letter,) = _letters(queue)
    assert (letter.key, letter.failure, queue.stats().parked) == ("b", REFUSED, 0)


def _park(queue: ShiftedQueue, *writes: Prepared) -> list[int]:
    """Makes the dead letters full, parks these writes, and returns the letters to purge."""
    queue.bury(queue.put("fills", b"x" * 350))
    for write in writes:
        queue.advance(1)
        assert queue.settle(queue.claimed(write), Outcome.DEAD) == [Settled.PARKED]
    return [letter.seq for letter in _letters(queue)]


def test_a_parked_write_that_is_larger_than_all_dead_letters_may_be_holds_up_no_other(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=400)
    filling = _park(queue, queue.put("too large", b"x" * 500), queue.put("small", b"x" * 10))
    assert queue.sweep().dead == 0
    purge(queue.queue, filling)
    swept = queue.sweep()
    assert (swept.dead, swept.more) == (1, False)
    assert [letter.key for letter in _letters(queue)] == ["small"]
    assert queue.stats().parked == 1


def test_a_row_of_parked_writes_that_do_not_fit_lets_those_behind_it_through(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=400)
    too_large = [queue.put(f"too large {number}", b"x" * 500) for number in range(7)]
    purge(queue.queue, _park(queue, *too_large, queue.put("small", b"x" * 10)))
    assert [queue.sweep(limit=3).dead for _ in range(3)] == [0, 0, 1]
    queue.queue.configure(dead_size=1_000_000)
    while queue.sweep(limit=3).more:
        pass
    assert (queue.stats().parked, len(_letters(queue))) == (0, 8)


def test_many_parked_writes_move_on_one_sweep_after_the_other(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=400)
    filling = _park(queue, *(queue.put(f"{number}", b"x" * 10) for number in range(5)))
    purge(queue.queue, filling)
    queue.queue.configure(dead_size=1_000_000)
    seen = [queue.sweep(limit=2) for _ in range(3)]
    assert [(swept.dead, swept.more) for swept in seen] == [(2, True), (2, True), (1, False)]


def test_a_newer_write_takes_a_parked_one_s_place(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=1)
    assert queue.settle(queue.claimed(queue.put("a", b"old")), Outcome.DEAD) == [Settled.PARKED]
    ((_, coalesced),) = queue.enqueue(queue.put("a", b"new"))
    (write,) = queue.claim_now().writes
    assert (coalesced, body_of(write), write.attempts, queue.stats().parked) == (True, b"new", 1, 0)


def test_sweep_and_release_park_what_finds_no_room_too(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=1)
    queue.claimed(queue.put("swept"))
    queue.advance(LEASE)
    queue.queue.sweep(max_attempts=1)
    batch = queue.claimed(queue.put("released"))
    queue.queue.release(batch.token, max_attempts=1, sent=[batch.writes[0].name])
    assert (queue.stats().parked, queue.stats().inflight) == (2, 0)
    queue.queue.configure(dead_size=1000)
    queue.sweep()
    assert sorted(letter.key for letter in _letters(queue)) == ["released", "swept"]


def test_deletes_are_dead_lettered_and_retried_as_deletes(queue: ShiftedQueue) -> None:
    queue.bury(queue.delete("a"))
    (letter,) = _letters(queue)
    assert letter.operation == "delete"
    queue.queue.retry_dead([letter.seq])
    batch = queue.claim_now()
    assert (keys_of(batch), batch.writes[0].is_delete) == (["a"], True)


def test_the_room_that_a_store_makes_is_there_for_the_next_write_of_the_same_call(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a"))
    queue.queue.configure(dead_size=_charge(queue))
    batch = queue.claimed(queue.put("a"), queue.put("b"))
    outcomes = [Outcome.STORED, Outcome.DEAD]
    settlements = [Settlement(write.name, outcome) for write, outcome in zip(batch.writes, outcomes, strict=True)]
    settled = queue.queue.settle(batch.token, settlements, max_attempts=MAX_ATTEMPTS)
    assert settled == [Settled.STORED, Settled.DEAD]


def test_retries_of_one_call_share_what_room_the_queue_has(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a"), queue.put("b"))
    queue.queue.configure(items=1)
    assert queue.queue.retry_dead([letter.seq for letter in _letters(queue)]) == ["q", "f"]
