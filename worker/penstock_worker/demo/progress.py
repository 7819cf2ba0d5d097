"""The demo while it runs: a live display in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Stats

LINE_SECONDS = 3.0
"""Between two lines where there is no terminal: a log shall not fill up."""
BAR_WIDTH = 30


@dataclass(frozen=True, slots=True)
class View:
    """How far everything is. ``planned`` writes; ``ended``: stored, deleted, superseded or dead."""

    planned: int
    stats: Stats
    ended: int
    seconds: float
    verified: int = 0
    to_verify: int = 0

    @property
    def accepted(self) -> int:
        return sum(self.stats.accepted.values())

    @property
    def coalesced(self) -> int:
        return sum(self.stats.coalesced.values())

    def states(self) -> str:
        ready = " · ".join(f"{priority} {self.stats.ready[priority]:,}" for priority in PRIORITIES)
        return f"waiting: {ready}"

    def others(self) -> str:
        stats = self.stats
        return (
            f"in flight {stats.inflight:,} · delayed {stats.delayed + stats.parked:,} · dead {stats.dead:,}"
            f" · coalesced {self.coalesced:,}"
        )


class Display:
    """Shows `View`s. Used by the main thread only, as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._accept = self._bars.add_task("accepted", total=None, note="")
        self._upload = self._bars.add_task("uploaded", total=None, note="")
        self._read = self._bars.add_task("read back", total=None, note="", visible=False)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next_line = time.monotonic() + LINE_SECONDS

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def status(self, text: str) -> None:
        """What is being done, until there is a `View`; nothing where there is no terminal."""
        if self._console.is_terminal:
            self._live.update(Text(f"{text} …", style="dim"), refresh=True)

    def end(self) -> None:
        """The live part goes; `say` still works."""
        self._live.stop()

    def say(self, text: str) -> None:
        """One line that stays, above the live part."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, view: View) -> None:
        if self._console.is_terminal:
            self._live.update(self._drawn(view), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self.say(self._line(view))

    def _drawn(self, view: View) -> Group:
        unique = view.accepted - view.coalesced
        rate = f"{view.ended / view.seconds:,.0f}/s" if view.seconds > 0 and not view.to_verify else ""
        self._bars.update(self._accept, total=view.planned, completed=view.accepted, note="safe in Redis")
        self._bars.update(self._upload, total=max(unique, 1), completed=view.ended, note=rate)
        self._bars.update(
            self._read, total=max(view.to_verify, 1), completed=view.verified, visible=view.to_verify > 0,
            note="and compared",
        )  # fmt: skip
        return Group(self._bars, Text(view.states(), style="dim"), Text(view.others(), style="dim"))

    def _line(self, view: View) -> str:
        if view.to_verify:
            return f"read back {view.verified:,} of {view.to_verify:,}"
        waiting = sum(view.stats.ready.values())
        return (
            f"accepted {view.accepted:,} of {view.planned:,} · uploaded {view.ended:,} · waiting {waiting:,} · "
            + view.others()
        )
