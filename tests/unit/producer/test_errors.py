from __future__ import annotations

import copy
import pickle

import pytest

from penstock import (
    InvalidSetting,
    InvalidWrite,
    NotDurable,
    PenstockError,
    QueueFull,
    QueueMismatch,
    QueueUnavailable,
    Receipt,
    WaitTimeout,
)

ERRORS: list[PenstockError] = [
    InvalidWrite("bad key"),
    InvalidSetting("bad setting"),
    QueueFull("items", 10, 11),
    QueueUnavailable("away", maybe_accepted=True),
    QueueMismatch("layout 2"),
    NotDurable("one replica"),
    WaitTimeout("bucket/key", "inflight", 5),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_a_process_pool_and_a_copy(error: PenstockError) -> None:
    error.receipts = (Receipt(7, False),)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_the_errors_are_what_callers_expect_to_catch() -> None:
    assert all(isinstance(error, PenstockError) for error in ERRORS)
    assert issubclass(InvalidWrite, ValueError)
    assert issubclass(WaitTimeout, TimeoutError)
    assert all(error.receipts == () for error in (InvalidWrite("x"), QueueFull("items", 1, 1)))


def test_queue_full_says_how_full_and_what_to_do() -> None:
    error = QueueFull("bytes", 1_000_000, 1_000_001)
    assert (error.unit, error.limit, error.current) == ("bytes", 1_000_000, 1_000_001)
    assert "1,000,001 of 1,000,000 bytes" in str(error)
    assert "penstock queue stats" in str(error)
