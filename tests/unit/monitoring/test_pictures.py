"""Pictures of the dashboard write numbers as Grafana does, and the page about them shows and explains everything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from monitoring.dashboard import PATH
from monitoring.dashboard.reading import read
from monitoring.pictures import Span, draw
from monitoring.pictures.units import shown

PAGE = Path(__file__).parents[3] / "docs" / "dashboard.md"
TEXT = PAGE.read_text(encoding="utf-8")
RAW, ROWS = read(PATH)
MOST_BYTES = 1_000_000
"""Of all pictures together: everybody who clones the repository has them."""
SHADE = RAW["annotations"]["list"][0]["expr"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"), (0.0, "s", "0 s"), (75.0, "s", "1.25 min"), (7200.0, "s", "2 h"),
        (0.056, "percentunit", "5.6 %"), (1536.0, "bytes", "1.5 KiB"), (1536.0, "binBps", "1.5 KiB/s"),
        (12345.0, "short", "12.3 K"), (12.0, "wps", "12 w/s"), (3.0, "none", "3"), (1.0, "bool_yes_no", "yes"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_grafana_does(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


class OneSeries:
    """Answers everything with the same line, or with nothing."""

    def __init__(self, *values: str) -> None:
        self._values = values

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        moments = range(int(start), int(end) + 1, int(step))
        values = [[moment, text] for moment, text in zip(moments, self._values, strict=False)]
        return [{"metric": {}, "values": values}] if values else []


@pytest.mark.parametrize(
    ("title", "source"),
    [("Savings", OneSeries("1", "NaN", "3")), ("Savings", OneSeries()), ("Workers", OneSeries("1", "2", "3"))],
    ids=["some", "nothing", "steps"],
)
def test_a_row_can_be_drawn(title: str, source: OneSeries, tmp_path: Path) -> None:
    (row,) = (row for row in ROWS if row.title == title)
    path = tmp_path / "row.png"
    draw(row, SHADE, source, Span(0, 2, window=1), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_page_explains_every_panel() -> None:
    words = " ".join(TEXT.split())
    rows = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert [row.title for row in ROWS] == [title for title in rows if title in {row.title for row in ROWS}]
    for panel in (panel for row in ROWS for panel in row.panels):
        wanted = f"| {panel.title} |" if panel.kind == "stat" and panel in ROWS[0].panels else f"**{panel.title}**"
        assert wanted in words, panel.title


def test_the_pages_pictures_are_there_and_no_others() -> None:
    images = {path.name: path.stat().st_size for path in (PAGE.parent / "images").glob("dashboard-*.png")}
    assert set(re.findall(r"\(images/(dashboard-[\w-]+\.png)\)", TEXT)) == images.keys()
    assert len(images) == len(ROWS), "two of the first row, and none of the last"
    assert sum(images.values()) < MOST_BYTES
