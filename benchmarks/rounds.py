"""Interleaved rounds, their medians and ratios, and what a measure hands back.

On a shared machine one contender's minute is not another's: so each round asks all contenders in turn, A B A B …, and
ratios are taken within a round before their median is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.stack import Stack

Progress = Callable[[str], None]
"""Told in a few words what is measured now."""


def silent(_: str) -> None:
    """A `Progress` that nobody sees."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity of several contenders, a value a round: round n of one ran beside round n of the others."""

    name: str
    unit: str
    values: dict[str, list[float]]

    def median(self, who: str) -> float:
        return statistics.median(self.values[who])

    def spread(self, who: str) -> tuple[float, float]:
        """The least and the greatest of the rounds: quartiles of three to seven say no more."""
        return min(self.values[who]), max(self.values[who])

    def ratio(self, one: str, other: str) -> float:
        """The median over the rounds of ``one`` ÷ ``other``."""
        return statistics.median(a / b for a, b in zip(self.values[one], self.values[other], strict=True))


@dataclass(frozen=True, slots=True)
class Curve:
    """Percentiles of one contender's calls, all rounds together: (percent, value) in rising order."""

    who: str
    unit: str
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table. ``met`` is None where there is no target, or where it could not be measured (``note`` says
    why)."""

    measure: str
    target: str
    value: str
    met: bool | None
    figures: list[Figure] = field(default_factory=list)
    note: str = ""
    curves: list[Curve] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Run:
    """What a measure works with. ``quick`` asks for a look at whether it runs, not for figures to trust."""

    stack: Stack
    quick: bool = False
    progress: Progress = silent

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 3

    def count(self, full: int, quick: int) -> int:
        """How many writes, calls or seconds: ``full``, or ``quick`` in a quick run."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Measure:
    """``name`` is what ``--only`` takes; ``about`` says in a line what is measured, for ``--list``."""

    name: str
    about: str
    run: Callable[[Run], list[Result]]


def interleave(
    name: str,
    unit: str,
    contenders: Mapping[str, Callable[[], float]],
    rounds: int,
    progress: Progress = silent,
) -> Figure:
    """Asks every contender for a value in every round, in reversed order every second round, so that none always
    follows the same one."""
    values: dict[str, list[float]] = {who: [] for who in contenders}
    for number in range(rounds):
        order = list(contenders.items())
        for who, measured in reversed(order) if number % 2 else order:
            progress(f"{name}: {who}, round {number + 1} of {rounds}")
            values[who].append(measured())
    return Figure(name, unit, values)


def merged(name: str, unit: str, figures: Mapping[str, Figure]) -> Figure:
    """One figure of several, each contender named ``{key} {contender}``, for those that ran apart."""
    values = {f"{key} {who}".strip(): list(found) for key, one in figures.items() for who, found in one.values.items()}
    return Figure(name, unit, values)
