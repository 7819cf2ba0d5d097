"""Texts of one cell each: short, of bounded width, on one line, and with nothing in them that moves a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

NONE = "–"

# Up to how many seconds which unit is used; a bit below the next one, where rounding would make it longer.
_UNITS = (
    (0.9995, 0.001, "ms", 0),
    (9.95, 1, "s", 1),
    (99.5, 1, "s", 0),
    (99.5 * 60, 60, "min", 0),
    (47.5 * 3600, 3600, "h", 0),
)


def safe(text: str) -> str:
    """Keys, tenants and messages are anybody's: what a terminal would obey is shown as a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text)


def count(number: int) -> str:
    """At most nine characters, up to a million million."""
    if number < 10_000_000:
        return f"{number:,}"
    return f"{number / 1e6:,.1f} M" if number < 1e9 else f"{number / 1e9:,.1f} G"


def rate(a_second: float | None) -> str:
    """At most nine characters."""
    if a_second is None:
        return NONE
    return f"{a_second:,.1f}" if a_second < 10_000 else count(round(a_second))


def age(seconds: float | None) -> str:
    """At most six characters: 85 ms, 3.2 s, 45 s, 12 min, 5 h, 3 d."""
    if seconds is None:
        return NONE
    for below, unit, name, digits in _UNITS:
        if seconds < below:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{seconds / 86_400:.0f} d"


@dataclass(frozen=True, slots=True)
class Squeezed:
    """A name that is cut in its middle where it does not fit: what tells it from others is often its end."""

    name: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        name, width = safe(self.name), options.max_width
        if cell_len(name) > width:
            head = set_cell_size(name, (width - 1) // 2)
            name = f"{head}…{name[len(name) - width // 2 :]}"
        yield Text(name, no_wrap=True, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, cell_len(self.name)))


Cell = str | Text | Squeezed


@dataclass(frozen=True, slots=True)
class Column:
    """``width`` None: an equal share of what the others leave. Numbers stand to the right."""

    heading: str
    width: int | None = None
    right: bool = False


def grid(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, headed: bool = True) -> Table:
    """A table without lines, its headings a row in reverse; every row takes one line."""
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    for column in columns:
        table.add_column(
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if column.right else "left",
            width=column.width,
            ratio=1 if column.width is None else None,
        )
    if headed:
        table.add_row(*[column.heading for column in columns], style="reverse")
    for row in rows:
        table.add_row(*[Text(safe(cell)) if isinstance(cell, str) else cell for cell in row])
    return table


def line(*parts: str | tuple[str, str]) -> Text:
    """One line of plain and styled pieces, cut off where the screen ends."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
