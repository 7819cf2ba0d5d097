"""No call keeps Redis from all others for long: whatever is asked for at once is done in bounded steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock.queue.blocks import block, unblock
from penstock.queue.client import SWEEP_STEP
from penstock.queue.look import Filter, State, pages
from penstock.queue.results import Batch, Outcome, Settled
from tests.support.queue import BUCKET, LEASE, MAX_ATTEMPTS, ShiftedQueue

MOST_COMMANDS = 1500
"""Redis commands inside one script call. One takes 2 to 4 µs, with the Lua around it."""


class Steps:
    """Counts the commands of each script call; nobody else uses the server while a test runs."""

    def __init__(self, queue: ShiftedQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        self._client: Any = queue.client
        self.calls: list[tuple[str, int]] = []
        run = queue.queue.run

        def counted(name: str, *args: Any) -> Any:
            before = self._commands()
            answer = run(name, *args)
            self.calls.append((name, self._commands() - before))
            return answer

        monkeypatch.setattr(queue.queue, "run", counted)

    def _commands(self) -> int:
        return sum(command["calls"] for command in self._client.info("commandstats").values())

    def of(self, name: str) -> int:
        return sum(script == name for script, _ in self.calls)


@pytest.fixture
def steps(queue: ShiftedQueue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    counted = Steps(queue, monkeypatch)
    yield counted
    assert max(commands for _, commands in counted.calls) <= MOST_COMMANDS, counted.calls


def large_claim(queue: ShiftedQueue) -> Batch:
    """A claim of 250 writes: nearly the largest there is."""
    for start in range(0, 250, 125):
        queue.enqueue(*[queue.delete(f"{number:03}") for number in range(start, start + 125)])
    batch = queue.claim_now()
    assert len(batch.writes) == 250
    return batch


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_large_batch_is_settled_in_steps(queue: ShiftedQueue, steps: Steps, outcome: Outcome) -> None:
    settled = queue.settle(large_claim(queue), outcome)
    assert len(settled) == 250
    assert Settled.LEASE_LOST not in settled
    assert steps.of("settle") == 5


def test_many_dead_letters_are_put_back_in_steps(queue: ShiftedQueue, steps: Steps) -> None:
    queue.settle(large_claim(queue), Outcome.DEAD)
    seqs = [letter.seq for letter in queue.queue.dead_letters(limit=1000)]
    assert queue.queue.retry_dead(seqs) == ["q"] * 250
    assert steps.of("retry_dead") == 5


def test_many_parked_writes_find_room_in_steps(queue: ShiftedQueue, steps: Steps) -> None:
    queue.queue.configure(dead_size=1)
    queue.settle(large_claim(queue), Outcome.DEAD)
    queue.queue.configure(dead_size=1_000_000)
    while queue.sweep().more:
        pass
    assert (queue.stats().dead, steps.of("sweep")) == (250, 5)


def drain(queue: ShiftedQueue, **options: Any) -> list[list[Batch]]:
    """Claims until nothing is ready: the batches of each call."""
    calls: list[list[Batch]] = []
    while True:
        reply = queue.claim(max_wait=0, budget=2**40, **options)
        if reply.wait is None and not reply.batches:
            return calls
        assert reply.batches, "due, and nothing came"
        calls.append(reply.batches)


def sizes_of(queue: ShiftedQueue, **options: Any) -> list[list[int]]:
    return [[len(batch.writes) for batch in call] for call in drain(queue, **options)]


@pytest.mark.parametrize("max_items", [25, 1000])
def test_a_claim_of_many_tenants_is_cut_short_and_the_next_one_goes_on(
    queue: ShiftedQueue, steps: Steps, max_items: int
) -> None:
    for start in range(0, 1000, 250):
        queue.enqueue(*[queue.put(f"{number}", tenant=f"tenant-{number}") for number in range(start, start + 250)])
    sizes = sizes_of(queue, batches=12, max_items=max_items)
    assert sum(map(sum, sizes)) == 1000
    assert sum(sizes[0]) > 50, "hardly any work in a call"


def test_a_claim_of_large_writes_is_cut_short_by_their_bytes(queue: ShiftedQueue, steps: Steps) -> None:
    size = 60_000
    for start in range(0, 100, 10):
        queue.enqueue(*[queue.put(f"{number}", bytes(size)) for number in range(start, start + 10)])
    sizes = sizes_of(queue, batches=12)
    assert max(map(sum, sizes)) * size < 2**21
    assert sizes[0][0] == 25, "a whole batch of them comes in one call"
    assert sum(map(sum, sizes)) == 100


def test_many_blocked_flows_are_set_aside_in_steps(queue: ShiftedQueue, steps: Steps) -> None:
    for start in range(0, 1000, 250):
        queue.enqueue(*[queue.put(f"{number}", tenant=f"tenant-{number}") for number in range(start, start + 250)])
    block(queue.queue, BUCKET, None)
    while (reply := queue.claim(max_wait=0)).wait is not None:
        assert reply.batches == []
    assert steps.of("claim") > 3
    unblock(queue.queue, BUCKET, None)
    while queue.sweep().more:
        pass
    assert sum(map(sum, sizes_of(queue))) == 1000


def test_lease_a_claim_that_is_swept_in_part_cannot_be_renewed(queue: ShiftedQueue, steps: Steps) -> None:
    batch = large_claim(queue)
    queue.advance(LEASE)
    first = queue.sweep(limit=60)
    assert (first.taken_back, first.more) == (60, True)
    assert queue.queue.renew([batch.token], lease=LEASE, max_age=900) == ["0"]
    rest = queue.sweep()
    assert rest.taken_back == SWEEP_STEP, "it was renewed"
    while queue.sweep().more:
        pass
    assert (queue.stats().inflight, queue.stats().contested) == (0, 250)  # rule SWEEP: each of them is marked


def test_token_a_settle_changes_nothing_of_what_was_swept_of_its_claim(queue: ShiftedQueue, steps: Steps) -> None:
    batch = large_claim(queue)
    queue.advance(LEASE)
    queue.sweep(limit=60)
    (other,) = queue.claim().batches
    (swept,) = other.writes
    settled = queue.settle(batch)
    assert (settled.count(Settled.LEASE_LOST), settled.count(Settled.STORED)) == (60, 190)
    assert queue.stats().items == 60
    assert settled[[write.name for write in batch.writes].index(swept.name)] is Settled.LEASE_LOST
    assert queue.settle(other) == [Settled.STORED]


def test_rel_a_large_batch_is_released_in_steps(queue: ShiftedQueue, steps: Steps) -> None:
    batch = large_claim(queue)
    sent = [write.name for write in batch.writes[::2]]
    assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS, sent=sent) == (250, 0, 0)
    assert steps.of("release") == 3
    assert (queue.stats().inflight, queue.stats().contested) == (0, 125)
    again = [write for call in drain(queue) for batch in call for write in batch.writes]
    assert [write.attempts for write in again] == [2, 1] * 125


def test_a_release_that_broke_off_goes_on_with_what_is_left(queue: ShiftedQueue, steps: Steps) -> None:
    batch = large_claim(queue)
    queue.queue.run("release", batch.token, MAX_ATTEMPTS, b"", 0)  # its first step
    assert queue.stats().inflight == 150
    assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS) == (150, 0, 0)
    assert (queue.stats().inflight, queue.stats().items) == (0, 250)


def test_what_is_left_of_a_claim_that_is_swept_in_part_can_be_released(queue: ShiftedQueue, steps: Steps) -> None:
    batch = large_claim(queue)
    queue.advance(LEASE)
    queue.sweep(limit=60)
    assert queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS) == (190, 0, 0)
    assert not queue.sweep().taken_back
    assert queue.stats().inflight == 0


def test_a_large_claim_is_listed_with_a_command_for_each_kind_of_thing(queue: ShiftedQueue, steps: Steps) -> None:
    batch = large_claim(queue)
    steps.calls.clear()
    listed = [entry for page in pages(queue.queue, Filter(state=State.INFLIGHT)) for entry in page]
    assert sorted(entry.key for entry in listed) == sorted(write.key for write in batch.writes)
    assert max(commands for _, commands in steps.calls) < 20
