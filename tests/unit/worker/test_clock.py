"""The host's clock against Redis's: what counts as right, and that a change is said once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from penstock_worker.clock import SKEW_LIMIT, Clock
from penstock_worker.held import boottime

NOW = 1_800_000_000.0
SLACK = 5.0
"""Seconds that a test may take between two looks at the boottime clock."""


class Wall:
    """A host's clock that a test sets. It stands still otherwise, so a skew is ``ahead`` less some milliseconds."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def __call__(self) -> float:
        return NOW + self.ahead


def compared(wall: Wall, round_trip: float = 0.0) -> Clock:
    """A clock that was compared just now with a Redis at `NOW`."""
    clock = Clock(wall=wall)
    at = boottime()
    clock.compared(NOW, at - round_trip / 2, at + round_trip / 2)
    return clock


def test_the_skew_is_how_far_the_host_is_ahead() -> None:
    for ahead in (0.0, 12.0, -12.0):
        assert compared(Wall(ahead)).skew() == pytest.approx(ahead, abs=SLACK)


def test_up_to_thirty_seconds_either_way_are_right_and_more_are_not() -> None:
    assert SKEW_LIMIT == 30
    for ahead in (0.0, SKEW_LIMIT - SLACK, SLACK - SKEW_LIMIT):
        assert compared(Wall(ahead)).wrong() is None
    for ahead in (SKEW_LIMIT + SLACK, -SKEW_LIMIT - SLACK):
        assert "30 s are allowed" in (compared(Wall(ahead)).wrong() or "")


def test_a_clock_that_was_never_compared_is_not_right() -> None:
    clock = Clock()
    assert clock.skew() is None
    assert "not compared" in (clock.wrong() or "")


def test_a_step_of_the_hosts_clock_is_seen_before_the_next_comparison() -> None:
    wall = Wall()
    clock = compared(wall)
    assert clock.wrong() is None
    wall.ahead = -100.0
    assert clock.wrong() is not None


def test_what_a_slow_round_trip_may_hide_counts_as_right() -> None:
    ahead = SKEW_LIMIT + SLACK
    assert compared(Wall(ahead)).wrong() is not None
    assert compared(Wall(ahead), round_trip=4 * SLACK).wrong() is None


def test_going_wrong_and_coming_right_are_one_line_each() -> None:
    wall = Wall()
    clock = compared(wall)
    with capture_logs() as logs:
        for ahead in (0.0, 60.0, 61.0, 60.0, 0.0, 0.0):
            wall.ahead = ahead
            clock.wrong()
    assert [line["event"] for line in logs] == ["clock_skewed", "clock_right"]
    assert logs[0]["skew_seconds"] == pytest.approx(60, abs=SLACK)
    assert "NTP" in logs[0]["remedy"]
