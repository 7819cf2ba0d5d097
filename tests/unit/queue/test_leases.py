"""Claims that end without a settle: renewal, release at a graceful stop, and leases of the dead."""

from __future__ import annotations

from typing import cast

from penstock.queue.client import LEASE_LOST, RELEASED
from penstock.queue.results import Outcome, Settled
from tests.support.queue import LEASE, MAX_ATTEMPTS, ShiftedQueue, body_of, keys_of

FLAGS_AT = 18  # in a name's history, see include/state.lua


def test_an_expired_lease_is_taken_back_and_not_a_moment_before(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a"), queue.put("b"))
    queue.advance(LEASE - 1e-6)
    swept = queue.sweep()
    assert (swept.taken_back, swept.wait, swept.more) == (0, 0.001, False)
    queue.advance(1e-6)
    assert queue.sweep().taken_back == 2
    assert [keys_of(queue.claim_now()) for _ in range(2)] == [["a"], ["b"]]


def test_a_renewed_lease_lasts_from_the_renewal(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    queue.advance(10)
    assert queue.queue.renew([batch.token, "unknown"], lease=LEASE, max_age=900) == ["1", "0"]
    queue.advance(10)
    assert queue.sweep().taken_back == 0
    queue.advance(5)
    assert queue.sweep().taken_back == 1
    assert queue.queue.renew([batch.token], lease=LEASE, max_age=900) == ["0"]


def test_cap_a_claim_is_not_renewed_beyond_its_greatest_age(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    for _ in range(3):
        queue.advance(10)
        assert queue.queue.renew([batch.token], lease=LEASE, max_age=30) == ["1"]
    queue.advance(1e-6)
    assert queue.queue.renew([batch.token], lease=LEASE, max_age=30) == ["c"]
    queue.advance(LEASE)
    assert queue.sweep().taken_back == 1


def test_rel_what_was_never_sent_goes_back_as_if_never_claimed(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    for _ in range(3 * MAX_ATTEMPTS):
        batch = queue.claim_now()
        assert batch.writes[0].attempts == 1
        assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS) == (1, 0, 0)


def test_rel_what_may_have_been_sent_keeps_its_attempt_and_dies_when_they_are_spent(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("sent"))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        batch = queue.claim_now()
        assert batch.writes[0].attempts == attempt
        released = queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS, sent=[batch.writes[0].name])
        assert released == ((0, 0, 1) if attempt == MAX_ATTEMPTS else (1, 0, 0))
    (letter,) = queue.queue.dead_letters()
    assert letter.failure == RELEASED


def test_a_released_write_that_something_newer_follows_is_superseded(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a", b"old"), queue.put("b"))
    queue.enqueue(queue.put("a", b"new"))
    assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS, sent=[batch.writes[0].name]) == (1, 1, 0)
    bodies = {write.key: (body_of(write), write.attempts) for write in queue.claim_now().writes}
    assert bodies == {"a": (b"new", 1), "b": (b"body", 1)}


def test_a_release_ends_the_claim_and_a_second_one_does_nothing(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS)
    assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS) == (0, 0, 0)
    assert queue.settle(batch) == [Settled.LEASE_LOST]
    assert queue.queue.renew([batch.token], lease=LEASE, max_age=900) == ["0"]


def test_a_claim_whose_answer_was_lost_is_released_by_its_token(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    batch = queue.claim_now()  # as if nobody had seen the answer; the token was the caller's own choice
    assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS) == (1, 0, 0)
    assert queue.claim_now().writes[0].attempts == 1


def test_sdead_a_write_that_kills_its_workers_runs_out_of_attempts(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("killer"))
    for _ in range(MAX_ATTEMPTS):
        queue.claim_now()
        queue.advance(LEASE)
        assert queue.sweep().taken_back == 1
    assert queue.stats().dead == 1
    (letter,) = queue.queue.dead_letters()
    assert (letter.key, letter.attempts, letter.failure) == ("killer", MAX_ATTEMPTS, LEASE_LOST)


def test_a_swept_write_that_something_newer_follows_is_superseded(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a", b"old"), max_items=1)
    queue.enqueue(queue.put("a", b"new"))
    queue.advance(LEASE)
    queue.sweep()
    (write,) = queue.claim_now().writes
    assert (body_of(write), write.attempts) == (b"new", 1)


def test_alone_a_swept_write_is_flagged_until_it_is_replaced(queue: ShiftedQueue) -> None:
    swept_flag = 4
    queue.claimed(queue.put("a"))
    queue.advance(LEASE)
    queue.sweep()

    def history() -> bytes | None:
        return cast("bytes | None", queue.client.hget(queue.prefix + "state", "bucket/a"))

    state = history()
    assert state is not None
    assert state[FLAGS_AT] & swept_flag
    queue.enqueue(queue.put("a"))
    assert history() is None


def test_a_sweep_is_one_bounded_step_and_says_when_there_is_more(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"{number:03}") for number in range(50)])
    queue.claim(batches=2)
    for write in range(20):
        queue.settle(queue.claimed(queue.put(f"retry-{write:03}")), Outcome.RETRY, delay=LEASE)
    queue.advance(LEASE)
    steps = [queue.sweep(limit=10) for _ in range(4)]
    assert [(step.due, step.taken_back, step.more) for step in steps] == [
        *((10, 0, True), (10, 0, True), (0, 25, True), (0, 25, False))
    ]
    assert steps[-1].wait is None


def test_a_sweep_of_an_empty_queue_has_nothing_to_wait_for(queue: ShiftedQueue) -> None:
    swept = queue.sweep()
    assert (swept.wait, swept.due, swept.taken_back, swept.dead, swept.more) == (None, 0, 0, 0, False)


def test_rel_the_last_attempt_is_not_spent_on_what_was_never_sent(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    assert queue.queue.release(batch.token, max_attempts=1) == (1, 0, 0)
    assert queue.claim_now().writes[0].attempts == 1


def test_writes_given_back_are_due_by_the_oldest_of_them(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("old"))
    queue.advance(1)
    queue.enqueue(queue.put("young"))
    queue.queue.release(queue.claim_now().token, max_attempts=MAX_ATTEMPTS)
    assert queue.claim().wait == 0.5
    assert keys_of(queue.claim_now()) == ["old", "young"]
