"""What becomes of a claimed write: stored, retried, dead, given back, superseded."""

from __future__ import annotations

import pytest

from penstock.queue.results import Failure, Outcome, Settled, Settlement
from tests.support.queue import BROKEN, MAX_ATTEMPTS, REFUSED, ShiftedQueue, body_of, keys_of


def test_a_stored_write_leaves_nothing_behind(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"), queue.put("b"))
    assert queue.settle(batch) == [Settled.STORED, Settled.STORED]
    stats = queue.stats()
    assert (stats.items, stats.bytes, stats.unfinished) == (0, 0, 0)
    left = {key.decode().removeprefix(queue.prefix) for key in queue.all_keys()}
    assert left == {"meta", "state", "count", "count:more", "call:producer", "wake", "settled", "ok", "test:now"}


def test_each_write_of_a_batch_has_its_own_outcome(queue: ShiftedQueue) -> None:
    outcomes = {
        "a": (Outcome.STORED, Settled.STORED),
        "b": (Outcome.RETRY, Settled.DELAYED),
        "c": (Outcome.DEAD, Settled.DEAD),
        "d": (Outcome.NEVER_SENT, Settled.READY),
        "e": (Outcome.MAYBE_SENT, Settled.READY),
    }
    batch = queue.claimed(*[queue.put(key) for key in outcomes])
    settlements = [Settlement(write.name, outcomes[write.key][0], True, 5, BROKEN) for write in batch.writes]
    settled = queue.queue.settle(batch.token, settlements, max_attempts=MAX_ATTEMPTS)
    assert settled == [settled for _, settled in outcomes.values()]
    stats = queue.stats()
    assert (stats.ready["normal"], stats.delayed, stats.dead, stats.inflight) == (2, 1, 1, 0)


def test_the_rest_of_a_batch_stays_claimed(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"), queue.put("b"))
    first, second = [Settlement(write.name, Outcome.STORED) for write in batch.writes]
    queue.queue.settle(batch.token, [first], max_attempts=MAX_ATTEMPTS)
    assert queue.stats().inflight == 1
    assert queue.queue.settle(batch.token, [second], max_attempts=MAX_ATTEMPTS) == [Settled.STORED]


def test_a_retry_is_ready_again_when_its_delay_is_over_and_not_before(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("a", b"body", tenant="t", priority="low")), Outcome.RETRY, delay=2.5)
    queue.advance(2.5 - 1e-6)
    swept = queue.sweep()
    assert (swept.due, swept.wait) == (0, 0.001)
    queue.advance(1e-6)
    assert queue.sweep().due == 1
    (write,) = queue.claim_now().writes
    assert (write.key, write.attempts, write.priority, write.tenant) == ("a", 2, 3, b"t")
    assert body_of(write) == b"body"


def test_the_last_attempt_s_failure_dead_letters_the_write_alone(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("bad"))
    for _ in range(MAX_ATTEMPTS - 1):
        assert queue.settle(batch, Outcome.RETRY) == [Settled.DELAYED]
        queue.sweep()
        batch = queue.claim_now()
    queue.settle(batch, Outcome.NEVER_SENT)
    queue.enqueue(queue.put("fresh"))
    batch = queue.claim_now()
    assert dict(zip(keys_of(batch), queue.settle(batch, Outcome.RETRY), strict=True)) == {
        "bad": Settled.DEAD,
        "fresh": Settled.DELAYED,
    }


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.MAYBE_SENT])
def test_an_uncounted_failure_never_uses_up_attempts(queue: ShiftedQueue, outcome: Outcome) -> None:
    queue.enqueue(queue.put("a"))
    for _ in range(3 * MAX_ATTEMPTS):
        batch = queue.claim_now()
        assert batch.writes[0].attempts == 1
        assert queue.settle(batch, outcome, counted=False) in ([Settled.DELAYED], [Settled.READY])
        queue.sweep()


def test_a_write_given_back_unsent_is_as_if_never_claimed(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    queue.advance(1)
    for _ in range(3 * MAX_ATTEMPTS):
        batch = queue.claim_now()
        assert (batch.writes[0].attempts, batch.writes[0].since) == (1, queue.now - 1_000_000)
        assert queue.settle(batch, Outcome.NEVER_SENT) == [Settled.READY]


def test_a_write_given_back_after_it_may_have_been_sent_dies_when_its_attempts_are_spent(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    outcomes = [queue.settle(queue.claim_now(), Outcome.MAYBE_SENT) for _ in range(MAX_ATTEMPTS)]
    assert outcomes == [[Settled.READY]] * (MAX_ATTEMPTS - 1) + [[Settled.DEAD]]


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.STORED])
def test_a_write_that_something_newer_follows_is_superseded_whatever_became_of_it(
    queue: ShiftedQueue, outcome: Outcome
) -> None:
    batch = queue.claimed(queue.put("a", b"old"))
    queue.enqueue(queue.put("a", b"new"))
    assert queue.settle(batch, outcome, delay=60) == [Settled.SUPERSEDED]
    (write,) = queue.claim_now().writes
    assert (body_of(write), write.attempts) == (b"new", 1)
    assert queue.stats().dead == 0


def test_token_a_stale_settle_changes_nothing(queue: ShiftedQueue) -> None:
    stale = queue.claimed(queue.put("a"))
    queue.advance(60)
    queue.sweep()
    live = queue.claim_now()
    for outcome in Outcome:
        assert queue.settle(stale, outcome) == [Settled.LEASE_LOST]
    assert queue.stats().inflight == 1
    assert queue.settle(live) == [Settled.STORED]


def test_token_a_write_settled_twice_counts_once(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"), queue.put("b"))
    twice = [Settlement(batch.writes[0].name, Outcome.STORED)] * 2
    assert queue.queue.settle(batch.token, twice, max_attempts=MAX_ATTEMPTS) == [Settled.STORED, Settled.LEASE_LOST]
    assert queue.stats().items == 1
    assert queue.settle(batch) == [Settled.LEASE_LOST, Settled.STORED]


def test_hundreds_of_deletes_are_settled_whatever_they_take(queue: ShiftedQueue) -> None:
    for start in range(0, 250, 125):
        queue.enqueue(*[queue.delete(f"{number:04}") for number in range(start, start + 125)])
    batch = queue.claim_now()
    assert queue.settle(batch) == [Settled.STORED] * 250
    assert queue.stats().items == 0


def test_a_dead_letter_tells_what_happened(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a/ü", b"body", priority="high", tenant="t"))
    queue.advance(3)
    batch = queue.claim_now()
    queue.settle(batch, Outcome.DEAD)
    (letter,) = queue.queue.dead_letters()
    assert (letter.bucket, letter.key, letter.seq) == ("bucket", "a/ü", batch.writes[0].seq)
    assert (letter.operation, letter.priority, letter.tenant, letter.attempts) == ("put", "high", "t", 1)
    assert letter.failure == REFUSED
    assert (letter.died_at - letter.accepted_at).total_seconds() == 3
    assert letter.size == batch.writes[0].size


@pytest.mark.parametrize("outcome", [Outcome.DEAD, Outcome.MAYBE_SENT, Outcome.RETRY])
def test_a_dead_letter_can_be_shown_although_nobody_gave_a_reason(queue: ShiftedQueue, outcome: Outcome) -> None:
    batch = queue.claimed(queue.put("a"))
    settled = queue.queue.settle(batch.token, [Settlement(batch.writes[0].name, outcome)], max_attempts=1)
    assert settled == [Settled.DEAD]
    (letter,) = queue.queue.dead_letters()
    assert isinstance(letter.failure, Failure)


def test_a_superseded_write_leaves_no_failure_to_the_newer_one(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("a")), Outcome.RETRY)
    queue.sweep()
    batch = queue.claim_now()
    queue.enqueue(queue.put("a", b"new"))
    assert queue.settle(batch) == [Settled.STORED]
    assert queue.client.exists(queue.prefix + "failure") == 0
