"""What `penstock top` makes of its looks, and that a frame fits its screen whatever it has to show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from penstock.queue.flows import Flow, Flows
from penstock.queue.names import PRIORITIES
from penstock.queue.results import Block, DeadLetter, Failure, Limits, Stats
from penstock.queue.workers import Facts, Rate, WorkerSeen
from penstock_worker.top import lists
from penstock_worker.top.cells import age, count, rate
from penstock_worker.top.frame import FLOW_ROWS, Away, draw, share_out
from penstock_worker.top.json_form import view_json
from penstock_worker.top.look import Look
from penstock_worker.top.view import View, Viewer

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LONG = "a-name-as-long-as-nobody-would-give-to-anything-but-some-do-" * 3
NASTY = "key\x1b[2J\r\n\tü"


def each(value: int) -> dict[str, int]:
    return dict.fromkeys(PRIORITIES, value)


STATS = Stats(
    queue="default", now=NOW.timestamp(), shards=1, paused=False, ready=each(0), delayed=0, inflight=0, parked=0,
    dead=0, contested=0, items=0, bytes=0, dead_bytes=0, oldest_age=dict.fromkeys(PRIORITIES),
    limits=Limits(1000, 1000, 1000), accepted=each(0), coalesced=each(0),
    rejected={"items": 0, "bytes": 0, "body": 0}, blocks=[], suspended=[],
    set_aside=0,
)  # fmt: skip
EMPTY = Look(stats=STATS, flows=Flows(each(0), []), workers=[], dead=[], log_level=None)


def worker(number: int = 0, *, silent: float = 0.0, **facts: Any) -> WorkerSeen:
    told = Facts(host=f"host-{number}", pid=number, version="0.1.0", slots=12, **facts)
    return WorkerSeen(f"host-{number}:{number}:ab", told, silent, NOW - timedelta(seconds=silent))


def full_look() -> Look:
    """Everything at its longest."""
    million = 1_000_000
    failure = Failure("permanent", "KeyTooLongError", 400, LONG)
    letter = DeadLetter(
        bucket=LONG, key=NASTY + LONG, seq=1, operation="put", priority="low", tenant=LONG, attempts=200,
        failure=failure, accepted_at=NOW, died_at=NOW, size=1, imported=False,
    )  # fmt: skip
    stats = replace(
        STATS, queue=LONG[:64], paused=True, ready=each(9 * million), delayed=million, inflight=million, parked=million,
        dead=million, contested=million, set_aside=million, items=million, bytes=2**30, dead_bytes=2**28,
        oldest_age=dict.fromkeys(PRIORITIES, 5900.0), limits=Limits(million, 2**30, 2**28), accepted=each(9 * million),
        rejected={"items": 1, "bytes": 2, "body": 3},
        blocks=[Block(LONG, LONG if n else None, "suspended", NOW, NASTY + LONG) for n in range(30)],
    )  # fmt: skip
    facts: dict[str, Any] = {
        "in_flight": 4000, "claims": 4, "lease_left": 14.9, "rate": Rate(10.0, 99_999, 2**30), "state": "stopping",
        "state_seconds": 5900.0, "up_seconds": 3e7, "stored": 10**9, "concurrency": {LONG: 3, "b": 128},
        "latency": {"low": [(3600.0, 5), (float("inf"), 1)]}, "errors": [("unknown", "ConnectionReset", 10**6)] * 9,
    }  # fmt: skip
    seen = [worker(n, **facts) for n in range(20)] + [worker(n, silent=3000.0, **facts) for n in range(20)]
    flows = [Flow("critical", LONG, NASTY, 9 * million, 5900.0, True) for _ in range(80)]
    return Look(stats=stats, flows=Flows(each(5000), flows), workers=seen, dead=[letter] * 20, log_level="warning")


def lines(
    view: View | None, *, width: int = 80, height: int | None = 24, away: Away | None = None
) -> tuple[list[str], str]:
    """The frame's lines without and as one text with what a terminal obeys."""
    texts = []
    for terminal in (False, True):
        console = Console(
            file=StringIO(),
            width=width,
            height=200,
            force_terminal=terminal,
            color_system="standard" if terminal else None,
        )
        console.print(draw(view, away, NOW + timedelta(seconds=5), width=width, height=height))
        texts.append(console.file.getvalue())  # type: ignore[attr-defined]
    return texts[0].splitlines(), texts[1]


# -- what is made of the looks --------------------------------------------------------------------------------------


def test_rates_are_those_of_the_last_seconds_and_unknown_before_the_second_look() -> None:
    viewer = Viewer()

    def at(second: float, accepted: int, refused: int) -> View:
        rejected = {"items": refused, "bytes": 0, "body": 0}
        now = replace(STATS, now=STATS.now + second, accepted=each(0) | {"high": accepted}, rejected=rejected)
        return viewer.view(replace(EMPTY, stats=now))

    assert at(0, 1000, 0).accepted["high"] is None
    second = at(2, 1100, 8)
    assert (second.accepted["high"], second.accepted["low"], second.rejected["items"]) == (50.0, 0.0, 4.0)
    assert at(7, 1100, 8).accepted["high"] == pytest.approx(100 / 7)
    assert at(12, 1100, 8).accepted["high"] == 0.0, "over the last ten seconds"
    lost = at(14, 0, 0)
    assert lost.accepted["high"] is None, "another Redis, or one that lost something: not a negative rate"
    assert at(16, 10, 0).accepted["high"] == 5.0


def test_throughput_latency_and_errors_are_those_of_the_living_together() -> None:
    facts: dict[str, Any] = {
        "rate": Rate(10.0, 100, 5000), "latency": {"high": [(1.0, 98), (5.0, 0), (10.0, 2)]},
        "errors": [("throttle", "SlowDown", 3), ("unknown", "Timeout", 1)],
    }  # fmt: skip
    other: dict[str, Any] = {
        "rate": Rate(5.0, 10, 0),
        "latency": {"low": [(2.0, 100)]},
        "errors": [("unknown", "Timeout", 4)],
    }
    seen = [worker(1, **facts), worker(2, **other), worker(3, silent=60.0, **facts), worker(4)]
    view = Viewer().view(replace(EMPTY, workers=seen))
    assert (view.stored, view.stored_bytes) == (12.0, 500.0)
    assert view.errors == [("unknown", "Timeout", 5), ("throttle", "SlowDown", 3)]
    high = view.latency["high"]
    assert high.writes == 100
    assert high.p50 == pytest.approx(50 / 98)
    assert high.p99 == pytest.approx(7.5)
    assert view.latency["all"].writes == 200
    assert view.latency["normal"].p50 is None


def test_the_json_form_has_all_that_a_frame_shows() -> None:
    shown = view_json(Viewer().view(full_look()))
    assert shown["at"] == "2026-11-01T12:00:00.000Z"
    (first, *_, last) = shown["workers"]
    assert (first["alive"], last["alive"], first["state"], last["age_seconds"]) == (True, False, "stopping", 3000.0)
    assert first["started_at"] == "2025-11-19T06:40:00.000Z"
    assert shown["flows"][0]["set_aside"] is True
    assert shown["blocks"][0]["reason"] == "suspended"
    assert shown["dead_letters"][0]["code"] == "KeyTooLongError"
    assert shown["accepted_per_second"] == dict.fromkeys(PRIORITIES)


# -- how it is drawn ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 50), (80, 60), (200, 24)])
def test_a_frame_fits_its_screen_and_none_of_its_numbers_is_cut(width: int, height: int) -> None:
    for look in (full_look(), EMPTY):
        view = Viewer().view(look)
        for away in (None, Away(NOW, LONG)):
            plain, _ = lines(view, width=width, height=height, away=away)
            assert len(plain) <= height
            assert max(len(line) for line in plain) <= width
            if look is EMPTY:
                continue
            assert len(plain) == height, "the room is used"
            text = "\n".join(plain)
            for number in ("9,000,000", "36.0 M", "1,000,000", "9,999.9", "4,000", " 15 s", "98 min"):
                assert number in text, number
            assert text.count("FULL") == 2


def test_of_long_lists_each_shows_some_and_says_how_many_there_are() -> None:
    plain, _ = lines(Viewer().view(full_look()))
    text = "\n".join(plain)
    for heading in (
        "HELD UP: 3 of 30",
        "WORKERS: 20/40 alive",
        "of 256.0 MiB: 2 of 1,000,000",
        f"FLOWS: {FLOW_ROWS} of 20,000",
    ):
        assert heading in text
    whole, _ = lines(Viewer().view(full_look()), height=None)
    assert sum("suspended" in line for line in whole) == 30
    assert sum("set aside" in line for line in whole) == 81


def test_nothing_that_a_terminal_would_obey_comes_out_of_a_name_or_a_message() -> None:
    _, raw = lines(Viewer().view(full_look()), away=Away(NOW, NASTY), height=None)
    assert "\x1b[2J" not in raw
    assert "\r" not in raw
    assert "key?[2J???ü" in raw


def test_what_is_wrong_is_said_in_words_and_not_by_colour_alone() -> None:
    away = Away(NOW, "Connection refused")
    held = replace(STATS, paused=True, items=1000, blocks=[Block("b", None, "suspended", NOW, "AccessDenied")])
    plain, _ = lines(Viewer().view(replace(EMPTY, stats=held, workers=[worker(1, silent=40.0)])), away=away)
    text = "\n".join(plain)
    for word in (
        "REDIS DOES NOT ANSWER since 12:00:00 UTC (5.0 s)",
        "Connection refused",
        "PAUSED",
        "FULL",
        "silent 40 s",
    ):
        assert word in text
    for word in ("NO WORKER IS ALIVE", "bucket b", "suspended", "AccessDenied"):
        assert word in text
    (first, second, *rest), _ = lines(None, away=away)
    assert ("REDIS DOES NOT ANSWER" in first, second.strip(), rest) == (True, "Connection refused", [])


def test_lists_share_what_room_there_is_and_the_flows_keep_theirs() -> None:
    view = Viewer().view(full_look())
    parts = [lists.held_up(view), lists.workers(view, False), lists.dead_letters(view, False), lists.flows(view)]
    assert share_out(0, parts) == [0, 0, 0, 0]
    assert share_out(2, parts) == [0, 0, 0, 2]
    assert share_out(8, parts) == [2, 2, 1, 3]
    assert share_out(1000, parts) == [30, 40, 20, 80]
    empty = Viewer().view(replace(EMPTY, workers=[worker()]))
    few = [lists.held_up(empty), lists.workers(empty, False), lists.dead_letters(empty, False), lists.flows(view)]
    assert share_out(20, few) == [0, 1, 0, 19]


def test_a_long_name_of_a_worker_or_a_key_keeps_its_end() -> None:
    look = full_look()
    named = replace(look.workers[0], facts=Facts(host="penstock-worker-7f9c6d5b8-x2x9z", pid=19128))
    letter = replace(look.dead[0], key="some/folder/" * 9 + "the-end.json")
    text = "\n".join(lines(Viewer().view(replace(look, workers=[named], dead=[letter])))[0])
    assert "penstock-w…2x9z:19128 " in text
    assert "the-end.json KeyTooLong" in text
    wide = "\n".join(lines(Viewer().view(replace(look, workers=[named])), width=200)[0])
    assert "penstock-worker-7f9c6d5b8-x2x9z:19128 " in wide


def test_cells_are_as_narrow_as_their_columns() -> None:
    for number in (0, 9_999_999, 10_000_000, 9_999_999_999, 999 * 10**9):
        assert len(count(number)) <= 9, number
        assert len(rate(float(number))) <= 9, number
    for seconds in (0.0, 0.9999, 9.99, 99.99, 5900.0, 5970.0, 170_999.0, 8.64e7):
        assert len(age(seconds)) <= 6, seconds
    assert [age(None), age(0.085), age(3.21), age(97.0), age(700.0), age(20_000.0), age(3e5)] == [
        "–", "85 ms", "3.2 s", "97 s", "12 min", "6 h", "3 d",
    ]  # fmt: skip
