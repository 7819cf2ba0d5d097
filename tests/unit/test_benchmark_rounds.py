"""What the benchmark makes of its rounds."""

from __future__ import annotations

import pytest

from benchmarks.bodies import json_body
from benchmarks.report import FORM, results_of
from benchmarks.rounds import Figure, interleave
from benchmarks.timing import percentile, percentiles
from benchmarks.watch import drain_rate


def test_every_round_asks_all_contenders_and_every_second_one_in_reversed_order() -> None:
    asked = []

    def contender(name: str, value: float) -> float:
        asked.append(name)
        return value

    figure = interleave("name", "unit", {"a": lambda: contender("a", 1), "b": lambda: contender("b", 2)}, 3)

    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert figure.values == {"a": [1, 1, 1], "b": [2, 2, 2]}


def test_a_ratio_is_that_of_the_rounds_and_not_of_the_medians() -> None:
    figure = Figure("name", "unit", {"a": [1, 10, 100], "b": [2, 10, 50]})

    assert figure.ratio("a", "b") == 1
    assert figure.median("b") == 10
    assert figure.spread("b") == (2, 50)


def test_a_drain_counts_from_a_tenth_done_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(float(second) for second in range(100))
    monkeypatch.setattr("benchmarks.watch.time.perf_counter", lambda: next(now))
    left = iter([1000, 950, 900, 500, 100, 0])

    assert drain_rate(lambda: next(left), 1000) == 900 / 3


def test_a_drain_that_stands_still_ends_in_an_error() -> None:
    with pytest.raises(TimeoutError, match="5 of 10"):
        drain_rate(lambda: 5, 10, limit=0.05)


def test_percentiles_are_of_the_times_and_rise() -> None:
    times = [float(number) for number in range(1000, 0, -1)]

    assert percentile(times, 50) == 501
    found = percentiles(times)
    assert dict(found)[99.9] == 1000
    assert [value for _, value in found] == sorted(value for _, value in found)


@pytest.mark.parametrize("size", [1, 1024, 65536])
def test_a_body_has_its_size_and_is_the_same_in_every_process(size: int) -> None:
    assert len(json_body(size, 1)) == size
    assert json_body(size, 1) == json_body(size, 1)


def test_a_report_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="run it again"):
        results_of({"form": FORM + 1, "results": []})
