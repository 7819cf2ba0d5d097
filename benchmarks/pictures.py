"""Draws what a run found: bars of writes a second, and the percentiles of one call.

python -m benchmarks.pictures results.json docs/images
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.measures import enqueue
from benchmarks.report import results_of
from benchmarks.rounds import Curve, Figure, Result

WIDTH, DPI = 8.0, 160
"""Inches, and dots an inch: more than the 800 pixels at which a page shows it."""
BAR = 0.34
"""Inches of height for a bar, its gap included."""
INK, PALE, GRID = "#1f2933", "#52606d", "#e4e7eb"
OURS, PEER, LIMIT = "#1c7c7d", "#b8c4d0", "#f2d399"
"""Penstock, what one would take instead, and what bounds them all."""
CURVES = ("#c08a1e", "#7a5ea8", "#b4473f", "#4f7cac", "#7d8a3c", "#7b8794")
"""Of all but Penstock, in the order of the contenders."""

LABELS = {
    "penstock": "Penstock, one worker process",
    "obstore_pool": "bare obstore, 12 threads",
    "boto3_pool": "boto3, 12 threads, no queue",
    "dramatiq_actor": "dramatiq, 12 threads, boto3",
    "dramatiq_cores": "dramatiq, a process a core, boto3",
    "celery_prefork": "Celery, prefork 2, boto3",
    "celery_threads": "Celery, 12 threads, boto3",
    "put_many": "Penstock put_many",
    "bare EVALSHA": "bare EVALSHA of the same",
    enqueue.UPLOAD: "boto3 put_object, no queue",
}

Bars = list[tuple[str, float]]
"""Contender and writes/s."""


def figure_named(results: Sequence[Result], name: str) -> Figure | None:
    return next((figure for result in results for figure in result.figures if figure.name == name), None)


def draw_all(results: Sequence[Result], directory: Path) -> list[Path]:
    """Draws what there are figures for, and returns the files."""
    drawn = []
    lone = figure_named(results, enqueue.LONE_FIGURE)
    shared = [figure_named(results, name) for name in (enqueue.MANY_FIGURE, enqueue.SHARED_FIGURE)]
    panels: dict[str, Bars] = {}
    if lone is not None:
        panels["one caller, one write a call"] = [(who, 1e6 / lone.median(who)) for who in lone.values]
    together = [(who, figure.median(who)) for figure in shared if figure is not None for who in figure.values]
    if together:
        panels["the callers of a process together"] = together
    if panels:
        drawn.append(directory / "benchmark-enqueue.png")
        _bars("Handed over: writes of 1 KiB a second", panels, drawn[-1])
    drains = figure_named(results, "drain, 1 KiB")
    if drains is not None:
        drawn.append(directory / "benchmark-drain.png")
        panel = {"": [(who, drains.median(who)) for who in drains.values]}
        _bars("Uploaded: writes of 1 KiB a second", panel, drawn[-1])
    curves = next((result.curves for result in results if result.curves), None)
    if curves:
        drawn.append(directory / "benchmark-latency.png")
        _curves("What one call to hand over a write takes, 1 KiB", curves, drawn[-1])
    return drawn


def _canvas(height: float, title: str) -> Canvas:
    layout = ConstrainedLayoutEngine(h_pad=0.08)
    canvas = Canvas(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout=layout)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    return canvas


def _plain(axes: Axes) -> None:
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10, length=0)
    axes.set_axisbelow(True)


def _is_limit(label: str) -> bool:
    return label.startswith("bare ")


def _colour(label: str) -> str:
    if _is_limit(label):
        return LIMIT
    return OURS if label.startswith("Penstock") else PEER


def _bars(title: str, panels: Mapping[str, Bars], path: Path) -> None:
    """Each panel has a scale of its own that begins at 0, with the longest bar on top."""
    heights = [len(bars) * BAR + 0.5 for bars in panels.values()]
    canvas = _canvas(sum(heights) + 0.5, title)
    plots = canvas.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (heading, bars) in zip(plots[:, 0], panels.items(), strict=True):
        ordered = sorted(bars, key=lambda bar: bar[1])
        labels = [LABELS.get(who, who) for who, _ in ordered]
        colours = [_colour(label) for label in labels]
        drawn = axes.barh(labels, [rate for _, rate in ordered], color=colours, height=0.72)
        axes.bar_label(drawn, [f"{rate:,.0f}" for _, rate in ordered], padding=4, fontsize=10, color=INK)
        axes.margins(x=0.12)
        axes.set_xticks([])
        _plain(axes)
        if heading:
            axes.set_title(heading, loc="left", fontsize=10.5, color=PALE)
    _key(canvas)
    canvas.savefig(path)


def _key(canvas: Canvas) -> None:
    kinds = {"Penstock": OURS, "what one would take instead": PEER, "the limit, with nothing around it": LIMIT}
    patches = [mpl.patches.Patch(color=colour, label=label) for label, colour in kinds.items()]
    canvas.legend(handles=patches, loc="outside lower left", ncols=3, frameon=False, fontsize=9.5, labelcolor=INK)


def _place(percent: float) -> float:
    """Percentiles get as much room as they have nines: 90, 99 and 99.9 are equally far apart."""
    return -math.log10(1 - percent / 100)


def _curves(title: str, curves: Sequence[Curve], path: Path) -> None:
    canvas = _canvas(4.6, title)
    axes = canvas.subplots()
    colours = iter(CURVES)
    for curve in curves:
        ours = curve.who == enqueue.PENSTOCK
        label = LABELS.get(curve.who, curve.who)
        axes.plot(
            [_place(percent) for percent, _ in curve.points], [value for _, value in curve.points],
            color=OURS if ours else next(colours, PALE), linewidth=3 if ours else 1.6,
            linestyle="--" if _is_limit(label) else "-", zorder=3 if ours else 2, label=label,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:g} ms" if value >= 1000 else f"{value:g} µs")
    ticks = (50.0, 90.0, 99.0, 99.9)
    axes.set_xticks([_place(percent) for percent in ticks], [f"p{percent:g}" for percent in ticks])
    axes.set_ylabel("time of a call (log scale)", color=INK)
    axes.grid(color=GRID)
    axes.grid(color=GRID, which="minor", axis="y", linewidth=0.4)
    _plain(axes)
    axes.tick_params(which="minor", length=0)
    canvas.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=9.5, labelcolor=INK)
    canvas.savefig(path)


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m benchmarks.pictures results.json DIRECTORY")
    try:
        results = results_of(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        for path in draw_all(results, Path(sys.argv[2])):
            print(path)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
