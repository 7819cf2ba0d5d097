"""When a call is sent again: as long as there is time if nothing can have happened, a few times if it can."""

from __future__ import annotations

import time

import pytest
import redis
from redis import exceptions

from penstock import QueueMismatch, QueueUnavailable
from penstock.attempts import LAST_PAUSE, LEAST_TRY, SENDS, Attempts
from penstock.queue.resp import LoadingInPartError

LOST = exceptions.ConnectionError("Connection closed by server.")
LOADING = exceptions.BusyLoadingError("Redis is loading the dataset in memory")
LOADING_IN_PART = LoadingInPartError("Redis is loading the dataset in memory")
READ_ONLY = exceptions.ReadOnlyError("You can't write against a read only replica.")
LATE = exceptions.TimeoutError("no answer in time")
NO_SCRIPT = exceptions.NoScriptError("No matching script.")
FAILED = exceptions.ResponseError("user_script:3: attempt to call a nil value")


def attempts(seconds: float = 3600.0) -> Attempts:
    return Attempts("redis://h", time.monotonic() + seconds)


def end_of(attempt: Attempts, error: redis.RedisError, *, sent: bool) -> QueueUnavailable:
    with pytest.raises(QueueUnavailable) as caught:
        attempt.after(error, sent=sent)
    assert caught.value.__cause__ is error
    return caught.value


def until_the_end(attempt: Attempts, error: redis.RedisError, *, sent: bool) -> None:
    while True:
        attempt.after(error, sent=sent)


def test_a_call_whose_answer_is_lost_is_sent_a_few_times() -> None:
    attempt = attempts()
    for _ in range(SENDS - 1):
        pause, needs_script = attempt.after(LOST, sent=True)
        assert 0 <= pause <= LAST_PAUSE
        assert not needs_script
    assert end_of(attempt, LOST, sent=True).maybe_accepted


@pytest.mark.parametrize(("error", "sent"), [(LOST, False), (LOADING, True), (LOADING, False)])
def test_what_surely_did_not_run_is_tried_while_there_is_time(error: redis.RedisError, sent: bool) -> None:
    attempt = attempts()
    for _ in range(3000):  # as many as five minutes have
        assert 0 <= attempt.after(error, sent=sent)[0] <= LAST_PAUSE
    assert not end_of(attempts(0.0), error, sent=sent).maybe_accepted


def test_what_may_have_run_while_redis_was_loading_is_tried_while_there_is_time_too() -> None:
    attempt = attempts()
    for _ in range(3000):
        assert 0 <= attempt.after(LOADING_IN_PART, sent=True)[0] <= LAST_PAUSE
    assert end_of(attempts(0.0), LOADING_IN_PART, sent=True).maybe_accepted


def test_nothing_is_tried_after_the_deadline() -> None:
    assert end_of(attempts(0.0), LOST, sent=True).maybe_accepted


def test_what_a_server_said_is_told_when_the_last_try_found_no_time() -> None:
    attempt = attempts(LAST_PAUSE + LEAST_TRY + 0.01)
    attempt.after(READ_ONLY, sent=True)
    with pytest.raises(QueueUnavailable, match="read only replica") as caught:
        until_the_end(attempt, LATE, sent=False)
    assert not caught.value.maybe_accepted
    assert caught.value.__cause__ is LATE


def test_an_answer_that_was_lost_is_told_before_what_a_server_said_earlier() -> None:
    attempt = attempts(LAST_PAUSE + LEAST_TRY + 0.01)
    attempt.after(READ_ONLY, sent=True)
    with pytest.raises(QueueUnavailable, match="no answer in time") as caught:
        until_the_end(attempt, LATE, sent=True)
    assert caught.value.maybe_accepted


def test_no_try_begins_that_cannot_be_answered_in_time() -> None:
    assert not end_of(attempts(LEAST_TRY), LOADING, sent=True).maybe_accepted


def test_one_lost_answer_is_remembered_when_the_last_try_could_not_be_sent() -> None:
    attempt = Attempts("redis://h", time.monotonic() + 3600)
    attempt.after(LOST, sent=True)
    attempt.after(LOADING, sent=True)
    assert end_of(attempt, exceptions.AuthenticationError("no"), sent=False).maybe_accepted


def test_a_missing_script_is_loaded_once_a_call() -> None:
    attempt = attempts()
    assert attempt.after(NO_SCRIPT, sent=True) == (0.0, True)
    assert not end_of(attempt, NO_SCRIPT, sent=True).maybe_accepted


@pytest.mark.parametrize(
    ("error", "maybe_accepted"),
    [
        (exceptions.AuthenticationError("invalid password"), False),
        (exceptions.NoPermissionError("no permission"), False),
        (exceptions.OutOfMemoryError("command not allowed"), False),
        (FAILED, True),
        (exceptions.InvalidResponse("Protocol Error"), True),
    ],
)
def test_an_error_that_stays_is_not_sent_again(error: redis.RedisError, maybe_accepted: bool) -> None:
    assert end_of(attempts(), error, sent=True).maybe_accepted is maybe_accepted
    assert not end_of(attempts(), error, sent=False).maybe_accepted


def test_another_layout_ends_the_call() -> None:
    with pytest.raises(QueueMismatch):
        attempts().after(exceptions.ResponseError("LAYOUT 2"), sent=True)
