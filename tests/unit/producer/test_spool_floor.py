"""The floor: the highest number that a host knows to be of an older write than what it spools."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import NotDurable, QueueFull, QueueUnavailable, Receipt
from penstock.calls import Options
from penstock.errors import PenstockError
from penstock.group_commit import GroupCommit
from penstock.queue.enqueue import Accepted
from penstock.spool.append import Spool
from penstock.spool.flag import Flag
from penstock.spooling import note_given
from tests.support.held_channel import HANG, LONG, HeldChannel, error_of, start, start_leader

FULL = QueueFull("items", 1, 1)
AWAY = QueueUnavailable("away", maybe_accepted=True)


def not_durable(*numbers: int) -> NotDurable:
    error = NotDurable("accepted, but in memory alone")
    error.receipts = tuple(Receipt(number, False) for number in numbers)
    return error


@pytest.mark.parametrize(
    ("outcomes", "floor"),
    [
        ([[(11, False), (12, True)]], 12),
        ([[(11, False)], [(12, False)], FULL], 12),
        ([FULL, [(11, False)], AWAY], 11),
        ([not_durable(11, 12)], 12),
        ([[(11, False)], not_durable(12), FULL], 12),
        ([[(11, False), (12, False), (0, False)], []], 12),
        ([[(0, False)], FULL], 10),
        ([[(9, False)]], 10),
    ],
)
def test_whatever_a_call_accepted_raises_the_floor(
    outcomes: list[Accepted | PenstockError], floor: int, tmp_path: Path
) -> None:
    watch = Flag(tmp_path / "flag").watch(0, 1)
    watch.given(10)
    note_given(watch, outcomes)
    assert watch.mark()[1] == floor


def test_a_neighbours_refusal_does_not_keep_the_floor_down(
    tmp_path: Path, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.group_commit.Channel", HeldChannel)
    spool = Spool(str(tmp_path), "queue", 1 << 20, HANG)
    commit = GroupCommit(Options("redis://h", "queue", "bucket", LONG, 1000, ()), spool=spool)
    channel = commit._channel
    assert isinstance(channel, HeldChannel)
    channel.refused = {b"refused"}
    first = start_leader(threads, commit, channel, "first")
    key, refused = start(threads, commit, "key", "refused")
    channel.permits.release(2)
    assert first.result(HANG) == [(1, False)]
    assert isinstance(error_of(refused), QueueFull)
    assert [(spool.flag.watch(0, 1).mark()[1], False)] == key.result(HANG) == [(2, False)]
    spool.close()


def test_a_floor_that_another_process_has_lowered_is_put_right(tmp_path: Path) -> None:
    one, other = (Flag(tmp_path / "flag") for _ in range(2))
    one.watch(0, 1).given(15)
    one.watch(1, 2).given(3)
    at = other.watch(0, 1)._at
    other._words[at] = 12  # by one that had looked before, and was stopped until now
    assert one.watch(0, 1).mark()[1] == 15
    assert other.watch(0, 1).mark()[1] == 15, "for all processes"
    assert other.watch(1, 2).mark()[1] == 3, "each shard has its own"
