"""Dead letters picked by filter, purged, and carried out of Redis and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from penstock.queue import dead
from penstock.queue.dead import DeadFilter, Payload
from penstock.queue.results import DeadLetter, Failure, Outcome
from tests.support.queue import BUCKET, LARGE, START, ShiftedQueue, body_of
from tests.unit.queue.test_spooled import SECOND, replay, spooled


def _letters(queue: ShiftedQueue, **where: object) -> list[DeadLetter]:
    return [letter for page in dead.pages(queue.queue, DeadFilter(**where)) for letter in page]  # type: ignore[arg-type]


def _keys(queue: ShiftedQueue, **where: object) -> list[str]:
    return [letter.key for letter in _letters(queue, **where)]


def _take_out(queue: ShiftedQueue) -> list[Payload]:
    """Exports and purges all."""
    payloads = [dead.read_payload(queue.queue, letter.seq) for letter in _letters(queue)]
    dead.purge(queue.queue, [letter.seq for letter in _letters(queue)])
    return [payload for payload in payloads if payload is not None]


def test_filters_narrow_and_go_together(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("old", tenant="t"))
    queue.advance(60)
    queue.bury(queue.put("young", tenant="t"), queue.put("other", bucket="other"))
    odd = Failure("permanent", "Odd", 400, "")
    queue.settle(queue.claimed(queue.put("odd")), Outcome.DEAD, failure=odd)
    assert _keys(queue, code="Odd") == ["odd"]
    assert _keys(queue, bucket="other") == ["other"]
    assert _keys(queue, tenant="t") == ["old", "young"]
    assert _keys(queue, tenant="t", died_before=START / 1e6 + 1) == ["old"]
    assert _keys(queue, tenant="t", code="Odd") == []
    assert len(_keys(queue)) == 4


@pytest.mark.parametrize("seconds", [0, 0.001])
@pytest.mark.parametrize("doomed", [0, dead.PAGE - 1])
def test_letters_that_leave_between_any_two_calls_of_a_listing_hide_no_others(
    queue: ShiftedQueue, monkeypatch: pytest.MonkeyPatch, doomed: int, seconds: float
) -> None:
    """Of the same time, or one after the other; the first of a page or its last leaves."""
    for batch in range(24):
        queue.bury(*(queue.put(f"{batch:02} {number:02}") for number in range(25)))
        queue.advance(seconds)
    letters = [(letter.key, letter.seq) for letter in _letters(queue)]
    assert sorted(letters) == letters
    assert len(letters) == 600
    purged: list[tuple[str, int]] = []
    execute: Any = queue.client.execute_command

    def meddled(*command: Any, **options: Any) -> Any:
        answer = execute(*command, **options)
        with monkeypatch.context() as undisturbed:
            undisturbed.setattr(queue.client, "execute_command", execute)
            purged.append(letters[doomed + len(purged)])
            assert dead.purge(queue.queue, [purged[-1][1]]) == 1
        return answer

    monkeypatch.setattr(queue.client, "execute_command", meddled)
    found = [(letter.key, letter.seq) for letter in _letters(queue)]
    assert len(purged) > 1
    assert [letter for letter in found if letter not in purged] == [one for one in letters if one not in purged]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_listing_ends_wherever_its_pages_do(queue: ShiftedQueue, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(dead, "PAGE", 2)
    for number in range(count):
        queue.bury(queue.put(f"{number}"))
        queue.advance(number % 2)
    assert _keys(queue) == [f"{number}" for number in range(count)]


def test_a_purge_removes_letter_and_large_body_and_nothing_else(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a", b"1"))
    queue.bury(queue.put("a", LARGE), queue.put("b"))
    doomed = next(letter.seq for letter in _letters(queue) if letter.size > len(LARGE))
    assert dead.purge(queue.queue, [doomed, doomed, 1]) == 1
    assert _keys(queue) == ["a", "b"]
    assert queue.stats().dead_bytes == 2 * len(queue.put("c", b"1").tail) + 3


def test_a_purge_lets_parked_writes_move_on(queue: ShiftedQueue) -> None:
    queue.queue.configure(dead_size=len(queue.put("a").tail))
    queue.settle(queue.claimed(queue.put("a"), queue.put("b")), Outcome.DEAD)
    dead.purge(queue.queue, [letter.seq for letter in _letters(queue)])
    queue.sweep()
    assert _keys(queue) == ["b"]


@pytest.mark.parametrize("body", [b"", b"small", LARGE])
def test_a_purge_can_be_undone_from_an_export(queue: ShiftedQueue, body: bytes) -> None:
    queue.bury(queue.put("a", body, tenant="ü", priority="high"))
    (before,) = _letters(queue)
    (payload,) = _take_out(queue)
    assert queue.stats().dead == 0
    assert dead.restore(queue.queue, payload) == "a"
    assert _letters(queue) == [replace(before, imported=True)]
    assert dead.restore(queue.queue, payload) == "e"
    assert queue.queue.retry_dead([before.seq], force=True) == ["q"]
    (write,) = queue.claim_now().writes
    record = write.record()
    found = body_of(write) if record.blob_id is None else queue.queue.fetch_blobs([record.blob_id])[0]
    assert (found, write.seq) == (body, before.seq)


def test_an_imported_letter_is_retried_by_force_only_because_something_newer_may_have_been_stored(
    queue: ShiftedQueue,
) -> None:
    queue.bury(queue.put("a", b"old"))
    (payload,) = _take_out(queue)
    queue.settle(queue.claimed(queue.put("a", b"new")))
    dead.restore(queue.queue, payload)
    assert queue.queue.retry_dead([payload.seq]) == ["i"]
    queue.settle(queue.claimed(queue.put("a", b"newest")))
    assert _keys(queue) == [], "a newer store removes it as any other"


@pytest.mark.parametrize("body", [b"small", LARGE])
def test_a_letter_whose_write_is_in_the_queue_is_not_imported(queue: ShiftedQueue, body: bytes) -> None:
    queue.bury(queue.put("a", body))
    (letter,) = _letters(queue)
    payload = dead.read_payload(queue.queue, letter.seq)
    assert payload is not None
    queue.queue.retry_dead([letter.seq])
    assert dead.restore(queue.queue, payload) == "w"
    queue.claim_now()
    queue.enqueue(queue.put("a", b"behind it"))
    assert dead.restore(queue.queue, payload) == "w"


def test_an_import_keeps_to_the_limits_and_drops_no_other_letter(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a", b"0"))
    (payload,) = _take_out(queue)
    queue.queue.configure(dead_size=1)
    assert dead.restore(queue.queue, payload) == "f"
    queue.queue.configure(dead_size=10**6)
    for number in range(16):
        queue.bury(queue.put("a", b"%d" % number))
    assert dead.restore(queue.queue, payload) == "m"
    assert len(_letters(queue)) == 16


def test_older_letters_of_a_name_are_imported_behind_the_newer_ones(queue: ShiftedQueue) -> None:
    for body in (b"1", b"2"):
        queue.bury(queue.put("a", body))
    older, newer = _take_out(queue)
    assert [dead.restore(queue.queue, payload) for payload in (newer, older)] == ["a", "a"]
    assert queue.queue.dead_seqs(BUCKET, "a") == [older.seq, newer.seq]


DAY = 86_400 * SECOND


def _ahead(queue: ShiftedQueue, number: int) -> Payload:
    """A letter of key "a", as another queue may have had it."""
    queue.bury(queue.put("a", b"of another queue"))
    (payload,) = _take_out(queue)
    return replace(payload, seq=number, record=payload.record[:1] + number.to_bytes(8) + payload.record[9:])


@pytest.mark.parametrize("ahead", [1, 1000 * SECOND, DAY])
def test_what_is_accepted_after_an_import_has_higher_numbers_than_the_letter(queue: ShiftedQueue, ahead: int) -> None:
    payload = _ahead(queue, START + ahead)
    assert dead.restore(queue.queue, payload) == "a"
    ((seq, _),) = queue.enqueue(queue.put("a", b"newer"))
    assert seq > payload.seq
    assert queue.queue.retry_dead([payload.seq], force=True) == ["s"]
    queue.settle(queue.claim_now())
    assert _keys(queue) == []


def test_a_letter_whose_number_no_clock_can_have_given_is_not_imported(queue: ShiftedQueue) -> None:
    for number in (START + DAY + 1, 2**53, 2**63, 2**64 - 1):
        assert dead.restore(queue.queue, _ahead(queue, number)) == "c"
    assert queue.stats().dead == 0
    queue.advance(1)
    assert queue.enqueue(queue.put("a")) == [(queue.now, False)]


def test_numbers_tell_a_time_after_an_import_too(queue: ShiftedQueue) -> None:
    """Of a spooled write and another one the later wins, although numbers are ahead of the clock."""
    assert dead.restore(queue.queue, _ahead(queue, START + 1000 * SECOND)) == "a"
    queue.advance(10)
    queue.enqueue(queue.put("older"), queue.put("newer"))
    queue.advance(10)
    earlier, later = START + 5 * SECOND, START + 15 * SECOND
    writes = [spooled(queue, queue.put("older"), after=later), spooled(queue, queue.put("newer"), after=earlier)]
    assert replay(queue, *writes) == [True, False]


def test_an_import_begins_no_time_of_marking_and_ends_none(queue: ShiftedQueue) -> None:
    old, early, late = (_ahead(queue, START + seconds * SECOND) for seconds in (0, 1000, 3000))
    for payload in (old, early):
        assert dead.restore(queue.queue, payload) == "a"
        queue.claimed(queue.put(f"{payload.seq}"))
        assert (queue.stats().contested, queue.stats().epoch_left) == (0, 0)
    queue.change_server("second")
    queue.claimed(queue.put("marked"))
    left = queue.stats().epoch_left
    assert (queue.stats().contested, left > 0) == (1, True)
    assert dead.restore(queue.queue, late) == "a"
    assert queue.stats().epoch_left == left
    queue.claimed(queue.put("marked too"))
    assert queue.stats().contested == 2


def test_a_loss_that_an_import_is_the_first_to_meet_is_one(queue: ShiftedQueue) -> None:
    payload = _ahead(queue, START + 1000 * SECOND)
    queue.change_server("second")
    assert dead.restore(queue.queue, payload) == "a"
    queue.claimed(queue.put("marked"))
    assert queue.stats().contested == 1


def test_what_is_no_dead_letter_is_refused_and_changes_nothing(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a"), queue.put("large", LARGE))
    small, large = sorted(_take_out(queue), key=lambda payload: len(payload.large_body or b""))
    bad_priority = small.record[:16] + b"\x09" + small.record[17:]
    for payload in (
        replace(small, seq=small.seq + 1),
        replace(small, seq=2**70),
        replace(small, info=b""),
        replace(small, info=small.info[:30]),
        replace(small, record=small.record[:20]),
        replace(small, record=small.record + b"more"),
        replace(small, record=bad_priority),
        replace(small, record=large.record),
        replace(large, large_body=None),
        replace(large, large_body=LARGE[1:]),
    ):
        with pytest.raises(ValueError, match=r"damaged|record is not|large body|names no key"):
            dead.restore(queue.queue, payload)
    assert queue.stats().dead == 0


def test_the_letters_of_a_name_are_shown_without_their_bodies(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a", b"12345"))
    queue.bury(queue.put("a", LARGE))
    first, second = dead.of_name(queue.queue, BUCKET, "a")
    assert (first.header is not None, second.body_size, len(first.sha256 or "")) == (True, len(LARGE), 64)
    assert first.body_size == 5
    assert dead.of_name(queue.queue, BUCKET, "b") == []
