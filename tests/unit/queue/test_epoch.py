"""Rule EPOCH in the scripts: another server answers, which may have lost the last steps of the one before."""

from __future__ import annotations

import pytest

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.contested import Judged, Verdict, due, judge
from penstock.queue.place import Ended, Question, decode_place
from penstock.queue.results import Outcome, Settled
from penstock.queue.suspension import LONGEST_PROBE_SECONDS
from tests.support.queue import BUCKET, LARGE, LEASE, MAX_ATTEMPTS, ShiftedQueue, keys_of
from tests.unit.queue.test_suspension import probed, suspended

SPAN = LEASE + GUARD_SECONDS
CLOCKS_APART = 60.0
NAME = f"{BUCKET}/a".encode()


def accept(queue: ShiftedQueue, key: str = "a") -> int:
    ((seq, _),) = queue.enqueue(queue.put(key))
    return seq


def deadline_of(queue: ShiftedQueue, key: str) -> int:
    packed = queue.client.hget(queue.prefix + "mark", f"{BUCKET}/{key}")
    assert isinstance(packed, bytes)
    return int.from_bytes(packed[:7])


class Copy:
    """The queue as it was, for a server that loses all that came later."""

    def __init__(self, queue: ShiftedQueue) -> None:
        self._queue = queue
        self._keys = {key: queue.client.dump(key) for key in queue.all_keys() if b"test:" not in key}

    def load(self, server: str) -> None:
        client = self._queue.client
        client.unlink(*[key for key in self._queue.all_keys() if b"test:" not in key])
        for key, value in self._keys.items():
            client.restore(key, 0 if b"call:" not in key else 600_000, value)  # type: ignore[arg-type]
        self._queue.change_server(server)


def test_a_new_queue_and_one_of_an_older_version_note_the_server_and_nothing_else(queue: ShiftedQueue) -> None:
    accept(queue)
    reply = queue.claim(max_wait=0)
    assert (reply.epoch, reply.epoch_left, reply.batches[0].epoch) == (0, 0, 0)
    queue.client.hdel(queue.prefix + "meta", "epoch_of")
    queue.change_server("second")
    accept(queue, "b")
    reply = queue.claim(max_wait=0)
    assert (reply.epoch, reply.epoch_left, queue.stats().contested) == (0, 0, 0)
    queue.change_server("third")
    accept(queue, "c")
    assert queue.claim(max_wait=0).epoch > 0


def test_epoch_every_claim_marks_until_it_ends_and_the_marks_are_due_then(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"), queue.delete("b"))
    queue.change_server("second")
    until = queue.now + round(SPAN * 1e6)
    reply = queue.claim(max_wait=0)
    assert [keys_of(batch) for batch in reply.batches] == [["a", "b"]]
    assert reply.epoch_left == queue.stats().epoch_left == SPAN
    assert {deadline_of(queue, key) for key in "ab"} == {until}
    queue.advance(SPAN - 0.001)
    accept(queue, "c")
    assert queue.claim(max_wait=0).epoch_left == 0.001
    assert deadline_of(queue, "c") == until
    queue.advance(0.001)
    accept(queue, "d")
    reply = queue.claim(max_wait=0)
    assert (keys_of(reply.batches[0]), reply.epoch_left, queue.stats().epoch_left) == (["d"], 0, 0)
    assert queue.stats().contested == 3
    assert reply.batches[0].epoch > 0, "what was accepted before is looked at for ever"


def test_epoch_a_swept_write_is_marked_by_its_claim_too(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a"))
    queue.advance(LEASE)
    queue.sweep()
    queue.change_server("second")
    queue.claim_now()
    assert deadline_of(queue, "a") == queue.now + round(SPAN * 1e6)


def test_epoch_a_probe_marks_and_tells_which_writes_were_accepted_before(queue: ShiftedQueue) -> None:
    suspended(queue, "a")
    queue.change_server("second")
    queue.advance(LONGEST_PROBE_SECONDS)
    found = probed(queue)
    assert found.batch is not None
    assert found.batch.writes[0].seq < found.batch.epoch
    assert deadline_of(queue, "a") == queue.now + round(SPAN * 1e6)


def test_epoch_a_second_one_moves_both_on(queue: ShiftedQueue) -> None:
    accept(queue)
    queue.change_server("second")
    first = queue.claim(max_wait=0)
    queue.advance(500)
    between = accept(queue, "b")
    assert between > first.epoch
    queue.change_server("third")
    second = queue.claim(max_wait=0)
    assert second.epoch > between
    assert second.epoch_left == SPAN
    assert deadline_of(queue, "b") == queue.now + round(SPAN * 1e6)


def test_epoch_the_first_claim_begins_the_time_of_marking_however_long_after_the_first_write(
    queue: ShiftedQueue,
) -> None:
    accept(queue)
    queue.change_server("second")
    new = accept(queue, "b")
    queue.advance(3 * SPAN)
    reply = queue.claim(max_wait=0)
    assert reply.epoch_left == SPAN
    assert [write.seq >= reply.epoch for write in reply.batches[0].writes] == [False, True]
    assert new == reply.epoch + 1


def test_epoch_numbers_rise_above_the_lost_ones_also_where_the_new_servers_clock_is_behind(
    queue: ShiftedQueue,
) -> None:
    accept(queue)
    copy = Copy(queue)
    queue.advance(30)
    lost = accept(queue)
    copy.load("second")
    queue.advance(-CLOCKS_APART)
    ((new, _),) = queue.enqueue(queue.put("a", priority="critical"))
    assert new > lost
    assert queue.claim_now().epoch <= new, "it is not looked up, and not taken for the older one"


def test_epoch_two_that_begin_from_the_same_data_give_no_number_twice(queue: ShiftedQueue) -> None:
    accept(queue)
    queue.change_server("second")
    accept(queue)
    copy = Copy(queue)
    numbers: list[int] = []
    for crash in range(20):
        copy.load(f"crash {crash}")
        numbers += [accept(queue, f"{crash}-{n}") for n in range(20)]
        queue.advance(0.001 if crash < 10 else 40)
    assert numbers == sorted(set(numbers))


def test_epoch_a_call_that_is_sent_again_after_a_loss_is_accepted_again(queue: ShiftedQueue) -> None:
    accept(queue)
    copy = Copy(queue)
    write = queue.put("b")
    (lost,) = queue.send([[write]], number=100)
    copy.load("second")
    (again,) = queue.send([[write]], number=100)
    assert isinstance(lost, list)
    assert isinstance(again, list)
    assert again[0][0] > lost[0][0]
    assert queue.send([[write]], number=100) == [again]


def test_epoch_an_overtaken_write_leaves_the_queue_and_a_newer_one_takes_its_place(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", LARGE), queue.put("b"))
    queue.change_server("second")
    batch = queue.claim_now()
    accept(queue, "b")
    assert queue.settle(batch, Outcome.OVERTAKEN) == [Settled.SUPERSEDED] * 2
    stats = queue.stats()
    assert (stats.items, stats.inflight, stats.contested) == (1, 0, 2)
    assert not [key for key in queue.all_keys() if b"blob:" in key]
    assert keys_of(queue.claim_now()) == ["b"]


def test_epoch_an_overtaken_write_is_told_as_superseded_to_who_waits(queue: ShiftedQueue) -> None:
    seq = accept(queue)
    queue.change_server("second")
    queue.settle(queue.claim_now(), Outcome.OVERTAKEN)
    question = Question.of(NAME, seq)
    answer = queue.queue.run("place", question.name, question.seq, question.after, question.cursor, question.newer, 1)
    assert decode_place(answer, question) == Ended("superseded")


def test_epoch_and_sup_an_overtaken_write_removes_the_older_dead_letters_of_its_name(queue: ShiftedQueue) -> None:
    queue.bury(queue.put("a"), queue.put("b"))
    accept(queue)
    queue.change_server("second")
    queue.settle(queue.claim_now(), Outcome.OVERTAKEN)
    assert [letter.key for letter in queue.queue.dead_letters()] == ["b"]


def test_epoch_and_token_a_stale_token_cannot_drop_a_write(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    queue.advance(LEASE)
    queue.sweep()
    assert queue.settle(batch, Outcome.OVERTAKEN) == [Settled.LEASE_LOST]
    assert queue.stats().items == 1


def test_epoch_an_overtaken_repair_leaves_mark_and_retained_payload_to_the_guard(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("a", LARGE)), Outcome.RETRY_UNKNOWN)
    queue.sweep()
    queue.settle(queue.claim_now())
    queue.advance(GUARD_SECONDS)
    found = due(queue.queue, hold=60, busy=5).names
    assert judge(queue.queue, [(found[0], Verdict.REPAIR)], recheck=5) == [Judged.REPAIR_QUEUED]
    queue.change_server("second")
    queue.settle(queue.claim_now(), Outcome.OVERTAKEN)
    queue.advance(SPAN)
    (one,) = due(queue.queue, hold=60, busy=5).names
    assert [key for key in queue.all_keys() if b"blob:" in key], "what is retained keeps its body"
    assert judge(queue.queue, [(one, Verdict.FINE)], recheck=5) == [Judged.CLEARED]
    assert queue.stats().bytes == 0


def test_epoch_and_retain_what_is_stored_in_one_is_kept_for_the_guard(queue: ShiftedQueue) -> None:
    seq = accept(queue)
    queue.change_server("second")
    queue.settle(queue.claim_now())
    queue.advance(SPAN)
    assert [one.seq for one in due(queue.queue, hold=60, busy=5).names] == [seq]


def test_epoch_and_cas_a_look_from_before_the_loss_judges_nothing_after_it(queue: ShiftedQueue) -> None:
    """Its generation would be given again: the guard that looked may have been frozen ever since."""
    queue.bury(queue.put("other"))
    copy = Copy(queue)
    queue.settle(queue.claimed(queue.put("a")), Outcome.RETRY_UNKNOWN)
    queue.sweep()
    queue.settle(queue.claim_now())
    queue.advance(GUARD_SECONDS)
    (looked,) = due(queue.queue, hold=60, busy=5).names
    copy.load("second")
    accept(queue)
    batch = queue.claim_now()
    assert queue.settle(batch) == [Settled.STORED]
    queue.advance(SPAN)
    assert judge(queue.queue, [(looked, Verdict.FINE)], recheck=5) == [Judged.CHANGED]
    assert queue.stats().contested == 1


def test_epoch_a_settle_that_was_lost_is_swept_and_its_write_claimed_again(queue: ShiftedQueue) -> None:
    batch = queue.claimed(queue.put("a"))
    copy = Copy(queue)
    assert queue.settle(batch) == [Settled.STORED]
    copy.load("second")
    assert queue.queue.renew([batch.token], lease=LEASE, max_age=900) == ["1"]
    queue.advance(LEASE)
    assert queue.sweep().taken_back == 1
    again = queue.claim_now()
    assert again.writes[0].seq < again.epoch
    assert queue.settle(again) == [Settled.STORED]
    assert queue.stats().contested == 1


def test_epoch_a_claim_that_was_lost_can_neither_be_renewed_nor_settled(queue: ShiftedQueue) -> None:
    accept(queue)
    copy = Copy(queue)
    batch = queue.claim_now()
    copy.load("second")
    assert queue.queue.renew([batch.token], lease=LEASE, max_age=900) == ["0"]
    assert queue.settle(batch) == [Settled.LEASE_LOST]
    assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS) == (0, 0, 0)
    assert keys_of(queue.claim_now()) == ["a"]


@pytest.mark.parametrize("lost", ["the letter", "its retry"])
def test_epoch_a_dead_letter_or_its_retry_that_was_lost_comes_again_and_is_looked_up(
    lost: str, queue: ShiftedQueue
) -> None:
    if lost == "the letter":
        accept(queue)
        copy = Copy(queue)
        queue.settle(queue.claim_now(), Outcome.DEAD)
        copy.load("second")
    else:
        queue.bury(queue.put("a"))
        (letter,) = queue.queue.dead_letters()
        copy = Copy(queue)
        queue.queue.retry_dead([letter.seq])
        queue.settle(queue.claim_now())
        copy.load("second")
        assert queue.queue.retry_dead([letter.seq]) == ["q"]
    batch = queue.claim_now()
    assert batch.writes[0].seq < batch.epoch
