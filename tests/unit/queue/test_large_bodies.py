"""Bodies with a key of their own: there exactly as long as a write names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import QueueFull, QueueUnavailable
from penstock.queue import client, dead
from penstock.queue.change import purge
from penstock.queue.enqueue import Prepared
from penstock.queue.look import Filter, pages
from penstock.queue.results import Outcome
from tests.support.queue import BUCKET, LARGE, ShiftedQueue
from tests.support.wait import wait_until

NEVER_EXPIRES, GONE = -1, -2


def _ttl(queue: ShiftedQueue, write: Prepared) -> int:
    assert write.blob_id is not None
    return int(queue.client.ttl(f"{queue.prefix}blob:{write.blob_id.decode()}"))


def test_an_accepted_body_stays_and_is_fetched_by_its_id(queue: ShiftedQueue) -> None:
    write = queue.put("key", LARGE)
    (claimed,) = queue.claimed(write).writes
    record = claimed.record()
    assert _ttl(queue, write) == NEVER_EXPIRES
    assert (record.body, record.body_size, claimed.size) == (None, len(LARGE), len(write.tail) + len(LARGE))
    assert record.blob_id is not None
    assert queue.queue.fetch_blobs([record.blob_id, "another"]) == [LARGE, None]


def test_bodies_come_in_answers_of_some_megabytes(queue: ShiftedQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FETCH_BYTES", 3 * len(LARGE))
    bodies = [LARGE + bytes((number,)) * (number * len(LARGE)) for number in (0, 1, 5, 0, 2, 0)]
    writes = [queue.put(f"{number}", body) for number, body in enumerate(bodies)]
    queue.enqueue(*writes)
    ids = [(write.blob_id or b"").decode() for write in writes]
    sizes = [len(body) for body in bodies]
    answers: list[int] = []
    execute: Callable[..., Any] = queue.client.execute_command

    def measured(*args: Any, **options: Any) -> Any:
        answer = execute(*args, **options)
        answers.append(sum(map(len, answer)) if isinstance(answer, list) else len(answer))
        return answer

    monkeypatch.setattr(queue.queue.client, "execute_command", measured)
    assert queue.queue.fetch_blobs(ids, sizes) == bodies
    assert max(answers) <= client.FETCH_BYTES
    assert len(answers) == 6  # the first two together, the third in two pieces, and three that do not fit together


def test_a_body_that_goes_while_its_pieces_are_fetched_is_gone(
    queue: ShiftedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "FETCH_BYTES", len(LARGE) // 2)
    write = queue.put("key", LARGE)
    queue.enqueue(write)
    blob_id = (write.blob_id or b"").decode()
    getrange = queue.client.getrange
    monkeypatch.setattr(
        queue.queue.client, "getrange", lambda key, start, end: getrange(key, start, end) if start == 0 else b""
    )
    assert queue.queue.fetch_blobs([blob_id, "another"], [len(LARGE), len(LARGE)]) == [None, None]


def test_a_write_whose_body_is_gone_is_refused_with_its_group(queue: ShiftedQueue) -> None:
    first = queue.put("a", LARGE)
    queue.enqueue(first)
    lost = queue.put("b", LARGE)
    refused, accepted = queue.send([[queue.put("c"), lost], [queue.put("d")]], without_blobs=True)
    assert isinstance(refused, QueueUnavailable)
    assert not refused.maybe_accepted
    assert isinstance(accepted, list)
    stats = queue.stats()
    assert (stats.items, stats.rejected["body"]) == (2, 2)


def test_the_body_of_a_refused_write_is_dropped(queue: ShiftedQueue) -> None:
    queue.queue.configure(items=1)
    queue.enqueue(queue.put("waits"))
    write = queue.put("key", LARGE)
    assert isinstance(queue.refusal(write), QueueFull)
    assert _ttl(queue, write) == GONE


def test_the_body_of_a_replaced_write_is_dropped(queue: ShiftedQueue) -> None:
    waiting, in_flight, delayed = queue.put("a", LARGE), queue.put("b", LARGE), queue.put("c", LARGE)
    queue.settle(queue.claimed(delayed), Outcome.RETRY, delay=60)
    queue.claimed(in_flight)
    queue.enqueue(waiting)
    queue.enqueue(queue.put("a"), queue.delete("b"), queue.put("c", LARGE + b"newer"))
    assert [_ttl(queue, write) for write in (waiting, in_flight, delayed)] == [GONE, GONE, GONE]


def test_the_body_of_a_stored_write_is_dropped(queue: ShiftedQueue) -> None:
    write, retried = queue.put("a", LARGE), queue.put("b", LARGE)
    queue.settle(queue.claimed(retried), Outcome.RETRY)
    queue.sweep()
    queue.enqueue(write)
    queue.settle(queue.claim_now())
    assert [_ttl(queue, write), _ttl(queue, retried)] == [GONE, GONE]


def test_a_newer_body_behind_a_flight_outlives_it(queue: ShiftedQueue) -> None:
    flight = queue.claimed(queue.put("key", LARGE))
    newer = queue.put("key", LARGE + b"newer")
    queue.enqueue(newer)
    queue.settle(flight)
    assert _ttl(queue, newer) == NEVER_EXPIRES
    queue.settle(queue.claim_now())
    assert _ttl(queue, newer) == GONE


def test_a_call_sent_again_after_it_was_accepted_leaves_its_body_without_expiry(queue: ShiftedQueue) -> None:
    write = queue.put("key", LARGE)
    queue.send([[write]], number=1)
    queue.send([[write]], number=1)
    assert _ttl(queue, write) == NEVER_EXPIRES


def test_a_call_sent_again_after_its_write_was_stored_leaves_a_body_that_dies_by_itself(queue: ShiftedQueue) -> None:
    write = queue.put("key", LARGE)
    queue.send([[write]], number=1)
    queue.settle(queue.claim_now())
    queue.send([[write]], number=1)
    assert 0 < _ttl(queue, write) <= 600


def test_the_same_write_sent_under_a_new_number_keeps_its_body(queue: ShiftedQueue) -> None:
    write = queue.put("key", LARGE)
    queue.enqueue(write)
    queue.enqueue(write)
    assert _ttl(queue, write) == NEVER_EXPIRES
    queue.queue.configure(items=1)
    assert isinstance(queue.refusal(queue.put("other"), write), QueueFull)
    assert _ttl(queue, write) == NEVER_EXPIRES


def test_a_dead_letter_keeps_its_body_until_something_newer_is_stored(queue: ShiftedQueue) -> None:
    write = queue.put("key", LARGE)
    queue.bury(write)
    assert _ttl(queue, write) == NEVER_EXPIRES
    queue.settle(queue.claimed(queue.put("key")))
    assert _ttl(queue, write) == GONE


def test_a_retried_dead_letter_has_its_body_and_drops_it_when_stored(queue: ShiftedQueue) -> None:
    write = queue.put("key", LARGE)
    queue.bury(write)
    (letter,) = queue.queue.dead_letters()
    assert queue.queue.retry_dead([letter.seq]) == ["q"]
    assert _ttl(queue, write) == NEVER_EXPIRES
    batch = queue.claim_now()
    assert batch.writes[0].name == f"{BUCKET}/key".encode()
    queue.settle(batch)
    assert _ttl(queue, write) == GONE


def _purge(queue: ShiftedQueue, _: list[Prepared]) -> None:
    entries = [entry for page in pages(queue.queue, Filter()) for entry in page]
    assert set(purge(queue.queue, entries)) == {"p"}


def _replace(queue: ShiftedQueue, writes: list[Prepared]) -> None:
    queue.enqueue(*[queue.delete(write.name.decode().partition("/")[2]) for write in writes])


def _purge_dead(queue: ShiftedQueue, writes: list[Prepared]) -> None:
    while batches := queue.claim(max_wait=0).batches:
        for batch in batches:
            queue.settle(batch, Outcome.DEAD)
    seqs = [letter.seq for letter in queue.queue.dead_letters()]
    assert dead.purge(queue.queue, seqs) == len(writes)


@pytest.mark.parametrize("remove", [_purge, _replace, _purge_dead])
def test_one_call_gives_back_some_megabytes_and_the_rest_expires(
    queue: ShiftedQueue, remove: Callable[[ShiftedQueue, list[Prepared]], None]
) -> None:
    writes = [queue.put(f"{number}", bytes(6 * 1024**2)) for number in range(5)]
    for write in writes:
        queue.enqueue(write)
    assert [_ttl(queue, write) for write in writes] == [NEVER_EXPIRES] * 5

    def calls() -> tuple[int, int]:
        stats: Any = queue.client.info("commandstats")
        unlinked, expiring = (stats.get(f"cmdstat_{name}", {"calls": 0}) for name in ("unlink", "pexpire"))
        return unlinked["calls"], expiring["calls"]

    before = calls()
    remove(queue, writes)
    unlinked, expiring = calls()
    assert (unlinked - before[0], expiring - before[1]) == (2, 3), "16 MiB are freed at once"
    wait_until(lambda: [_ttl(queue, write) for write in writes] == [GONE] * 5, 10, "no body is left")


def test_a_body_that_is_larger_than_what_a_call_gives_back_goes_at_once(queue: ShiftedQueue) -> None:
    write = queue.put("key", bytes(17 * 1024**2))
    queue.settle(queue.claimed(write))
    assert _ttl(queue, write) == GONE
