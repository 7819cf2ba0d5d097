from __future__ import annotations

import pytest

from penstock.queue.commit import Gathered
from penstock.queue.enqueue import MAX_CALL_BYTES, MAX_CALL_WRITES, Prepared


def write(size: int = 10, *, apart: bool = False) -> Prepared:
    """One that adds ``size`` bytes to a call, in its record or in a body that goes apart."""
    body = bytes(size - 1)
    return Prepared(b"n", b"", b"", b"id", body) if apart else Prepared(b"n", b"", body, None, b"")


def test_first_in_first_out_and_all_that_fits_goes_together() -> None:
    gathered: Gathered[str] = Gathered()
    for name in "abc":
        gathered.add(name, [write()])
    assert gathered.newest() == "c"
    assert gathered.take()[0] == ["a", "b", "c"]
    assert not gathered
    assert gathered.take() == ([], [])


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("groups", "first_call"),
    [
        ([[MAX_CALL_BYTES // 2], [MAX_CALL_BYTES // 2]], 2),
        ([[MAX_CALL_BYTES // 2], [MAX_CALL_BYTES // 2 + 1]], 1),
        ([[MAX_CALL_BYTES * 16], [10]], 1),
        ([[10], [MAX_CALL_BYTES * 16]], 1),
        ([[10] * MAX_CALL_WRITES, [10]], 1),
        ([[10] * (MAX_CALL_WRITES - 1), [10], [10]], 2),
    ],
)
def test_a_call_holds_at_most_so_many_writes_and_bytes_but_at_least_one_group(
    groups: list[list[int]], first_call: int, apart: bool
) -> None:
    gathered: Gathered[int] = Gathered()
    for number, sizes in enumerate(groups):
        gathered.add(number, [write(size, apart=apart) for size in sizes])
    waiters, taken = gathered.take()
    assert waiters == list(range(first_call))
    assert [len(group) for group in taken] == [len(sizes) for sizes in groups[:first_call]]
    assert bool(gathered) == (first_call < len(groups))


def test_who_gives_up_is_not_sent_and_learns_whether_that_came_in_time() -> None:
    gathered: Gathered[object] = Gathered()
    first, second, third = object(), object(), object()
    for waiter in (first, second, third):
        gathered.add(waiter, [write()])
    assert gathered.remove(second)
    assert not gathered.remove(second)
    assert gathered.take()[0] == [first, third]
    assert not gathered.remove(first)


def test_waiters_are_told_apart_by_identity() -> None:
    gathered: Gathered[list[int]] = Gathered()
    one: list[int] = []
    other: list[int] = []
    gathered.add(one, [write()])
    gathered.add(other, [write()])
    assert gathered.remove(other)
    assert gathered.take()[0][0] is one


def test_those_that_are_removed_together_leave_the_others_in_order() -> None:
    gathered: Gathered[str] = Gathered()
    for name in "abcde":
        gathered.add(name, [write()])
    assert gathered.remove_all(lambda name: name in "eb") == ["b", "e"]
    assert gathered.remove_all(lambda name: name in "eb") == []
    assert gathered.take()[0] == ["a", "c", "d"]
