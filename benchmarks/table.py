"""The Markdown table of a run, for the documents.

python -m benchmarks.table results.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import ANSWERS, conditions, results_of
from benchmarks.rounds import Figure


def markdown(report: dict[str, Any]) -> str:
    """The machine, then measures with targets beside what was measured, then the rounds' medians and spread."""
    lines = [conditions(report), "", "| measure | target | measured | met |", "| --- | --- | --- | --- |"]
    results = results_of(report)
    lines += [f"| {one.measure} | {one.target} | {one.value} | {ANSWERS[one.met]} |" for one in results]
    notes = [f"- {one.measure}: {one.note}" for one in results if one.note]
    lines += ["", *notes] if notes else []
    figures = [figure for one in results for figure in one.figures]
    if figures:
        lines += ["", "| figure | contender | median | least – greatest | rounds |", "| --- | --- | --: | --: | --: |"]
        lines += [row for figure in figures for row in _rows(figure)]
    return "\n".join(lines) + "\n"


def _rows(figure: Figure) -> list[str]:
    rows = []
    for who, values in figure.values.items():
        least, greatest = figure.spread(who)
        middle = f"{shown(figure.median(who))} {figure.unit}"
        rows.append(f"| {figure.name} | {who} | {middle} | {shown(least)} – {shown(greatest)} | {len(values)} |")
    return rows


def shown(value: float) -> str:
    """With three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.table results.json")
    try:
        print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), end="")
    except (OSError, ValueError) as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
