"""Pictures of the dashboard's rows, drawn from a Prometheus by the dashboard's own expressions.

They are not Grafana's rendering: the panels, their places, colours and shading are those of the JSON, the drawing is
matplotlib's. `draw` makes one picture of one row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from monitoring.dashboard.reading import Panel, Row, Target, filled
from monitoring.pictures.units import shown

WIDTH = 12.6
"""Inches of the 24 columns of Grafana's grid."""
CELL = 0.3
"""Inches of a row of the grid."""
DPI = 110
COLOURS = {"green": "#56a64b", "orange": "#f2870d", "red": "#d6283d", "blue": "#3274d9", "purple": "#8f3bb8"}
OTHERS = ("#3274d9", "#56a64b", "#f2870d", "#8f3bb8", "#12939a", "#b5651d", "#d6283d", "#c9a800", "#7a7a7a")
"""For series whose colour the dashboard leaves open."""
ORDER = ("critical", "high", "normal", "low")
"""Of series, before all others, which stand in the order of their names."""
TEXT, FAINT, SHADE = "#24292e", "#d8dce0", "#fbe3e4"
MINUTE = 60.0
MOST_NAMES = 6
"""Names of series below a graph; of more, those that were never above zero are left out."""

STYLE: Any = {
    "font.size": 8, "axes.edgecolor": FAINT, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#eceff1",
    "lines.linewidth": 1.3, "legend.frameon": False, "legend.fontsize": 7.5, "text.color": TEXT,
}  # fmt: skip


class Source(Protocol):
    """A Prometheus."""

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """``{"metric": labels, "values": [[time, text], …]}`` each."""


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to ``end``, times of ``time.time``. ``window``: seconds of a rate."""

    start: float
    end: float
    window: int
    step: int = 1

    def fill(self, expr: str) -> str:
        return filled(expr, window=self.window, step=self.step, whole=int(self.end - self.start))


def clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02}"


def draw(row: Row, shade: str, source: Source, span: Span, path: Path) -> None:
    """One row, as of the end of ``span``, to a PNG. Graphs are shaded while the expression ``shade`` is above zero."""
    places = [panel.raw["gridPos"] for panel in row.panels]
    top = min(place["y"] for place in places)
    rows = max(place["y"] + place["h"] for place in places) - top
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, rows * CELL), dpi=DPI, facecolor="white")
        shaded = _shaded(shade, source, span)
        for panel, place in zip(row.panels, places, strict=True):
            box = (place["x"] / 24, 1 - (place["y"] - top + place["h"]) / rows, place["w"] / 24, place["h"] / rows)
            if panel.kind == "stat":
                _stat(figure, box, panel, source, span)
            else:
                _graph(figure, box, panel, source, span, shaded)
        figure.savefig(path, pil_kwargs={"optimize": True})


def _shaded(expr: str, source: Source, span: Span) -> list[float]:
    found = source.query_range(span.fill(expr), span.start, span.end, span.step)
    return sorted({moment for one in found for moment, value in one["values"] if float(value) > 0})


def _series(target: Target, source: Source, span: Span) -> list[tuple[str, list[float]]]:
    """Names and values, one at each step; not a number where there is none."""
    steps = int((span.end - span.start) / span.step) + 1
    found = []
    for one in source.query_range(span.fill(target.expr), span.start, span.end, span.step):
        values = [math.nan] * steps
        for moment, value in one["values"]:
            values[round((moment - span.start) / span.step)] = float(value)
        found.append((target.series(one["metric"]), values))
    return sorted(found, key=lambda one: (ORDER.index(one[0]) if one[0] in ORDER else len(ORDER), one[0]))


# -- graphs -----------------------------------------------------------------------------------------------------------


def _graph(
    figure: Figure,
    box: tuple[float, float, float, float],
    panel: Panel,
    source: Source,
    span: Span,
    shaded: list[float],
) -> None:
    left, bottom, width, height = box
    inch_x, inch_y = 1 / WIDTH, 1 / figure.get_figheight()
    series = [one for target in panel.targets for one in _series(target, source, span)]
    named = [name for name, values in series if len(series) <= MOST_NAMES or any(value > 0 for value in values)]
    lines = max(1, math.ceil(len(named) / _columns(named, width)))
    foot = (0.32 + 0.145 * lines) * inch_y
    axes = figure.add_axes((left + 0.68 * inch_x, bottom + foot, width - 0.85 * inch_x, height - foot - 0.36 * inch_y))
    figure.text(left + 0.1 * inch_x, bottom + height - 0.19 * inch_y, panel.title, weight="bold", size=9.5)
    for moment in shaded:
        step = (moment - span.start) / span.step
        axes.axvspan(step, step + 1, color=SHADE, linewidth=0, zorder=0)
    _lines(axes, panel, series, named)
    _limits(axes, panel, span, all_zero=not any(value for _, values in series for value in values if value == value))
    if named:
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.16), ncols=_columns(named, width), handlelength=1.0,
            columnspacing=1.0, borderaxespad=0.0, handletextpad=0.4, labelspacing=0.25,
        )  # fmt: skip
    else:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color="#8e8e8e")


def _columns(named: list[str], width: float) -> int:
    """How many names fit beside each other below a graph."""
    longest = max((len(name) for name in named), default=1)
    return max(1, min(len(named), int(width * WIDTH / (0.35 + 0.062 * longest))))


def _lines(axes: Axes, panel: Panel, series: list[tuple[str, list[float]]], named: list[str]) -> None:
    below = [0.0] * (len(series[0][1]) if series else 0)
    fixed = {name: panel.override(name, "color") for name, _ in series}
    colours = {name: COLOURS.get(one["fixedColor"], one["fixedColor"]) for name, one in fixed.items() if one}
    others = iter([one for one in OTHERS if one not in colours.values()] * 5)
    stepped = panel.defaults.get("custom", {}).get("lineInterpolation") == "stepAfter"
    for name, values in series:
        colour = colours.get(name) or next(others)
        label = name if name in named else None
        moments = range(len(values))
        if panel.stacked:
            above = [low + (0.0 if math.isnan(value) else value) for low, value in zip(below, values, strict=True)]
            axes.fill_between(moments, below, above, color=colour, alpha=0.75, linewidth=0, label=label)
            below = above
        elif stepped:
            axes.step(moments, values, where="post", color=colour, label=label)
        else:
            axes.plot(moments, values, color=colour, label=label)


def _limits(axes: Axes, panel: Panel, span: Span, *, all_zero: bool) -> None:
    seconds = (span.end - span.start) / span.step
    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 3, 6]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda at, _: f"{int(at * span.step) // 60}:{int(at * span.step) % 60:02}")
    )
    low, high = axes.get_ylim()
    if all_zero:
        high = 1.0
    axes.set_ylim(panel.defaults.get("min", low), panel.defaults.get("max", high) * 1.02)
    if panel.unit in ("bytes", "binBps"):
        axes.yaxis.set_major_locator(MultipleLocator(2.0 ** math.ceil(math.log2(max(high, 4.0) / 5))))
    elif panel.unit == "s" and high > MINUTE:
        axes.yaxis.set_major_locator(MultipleLocator(MINUTE / 2 * math.ceil(high / MINUTE / 2)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=panel.unit in ("none", "short"), min_n_ticks=2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, panel.unit)))
    axes.tick_params(length=0, pad=4)
    for at, name in panel.steps()[1:]:
        if at <= axes.get_ylim()[1]:
            axes.axhline(at, color=COLOURS.get(name, name), linewidth=0.9, linestyle=(0, (4, 3)))


# -- stats ------------------------------------------------------------------------------------------------------------


def _stat(figure: Figure, box: tuple[float, float, float, float], panel: Panel, source: Source, span: Span) -> None:
    left, bottom, width, height = box
    axes = figure.add_axes((left, bottom, width, height))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    judged = panel.raw["options"]["colorMode"] == "background"
    parts = [(target, *_now(panel, target, source, span)) for target in panel.targets]
    each = 0.94 / len(parts)
    for number, (target, text, colour) in enumerate(parts):
        at = 0.03 + number * each
        face = colour if judged else "#f2f4f5"
        patch = FancyBboxPatch((at, 0.06), each, 0.88, boxstyle="square,pad=0", linewidth=0, facecolor=face)
        axes.add_patch(patch)
        ink = "white" if judged else TEXT
        size = 17 if len(parts) == 1 else 12.5
        axes.text(at + each / 2, 0.4, text, ha="center", va="center", size=size, weight="bold", color=ink)
        if len(parts) > 1:
            axes.text(at + each / 2, 0.17, target.name, ha="center", va="center", size=8, color=ink)
    axes.text(0.07, 0.78, panel.title, size=9, color="white" if judged else TEXT, weight="bold")


def _now(panel: Panel, target: Target, source: Source, span: Span) -> tuple[str, str]:
    """The text of a stat, and its colour."""
    found = source.query_range(span.fill(target.expr), span.end, span.end, span.step)
    value = float(found[0]["values"][0][1]) if found else math.nan
    if math.isnan(value):
        return str(panel.defaults["noValue"]), "#8e8e8e"
    for mapping in panel.defaults.get("mappings", ()):
        told = mapping["options"].get(f"{value:g}") if mapping["type"] == "value" else None
        if told is not None:
            return str(told["text"]), COLOURS[told["color"]]
    decimals = panel.defaults.get("decimals")
    rounded = value if decimals is None else round(value, decimals + (2 if panel.unit == "percentunit" else 0))
    colour = [name for at, name in panel.steps(target.name) if value >= at][-1]
    return shown(rounded, panel.unit), COLOURS[colour]
