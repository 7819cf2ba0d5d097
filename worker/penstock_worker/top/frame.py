"""Draws what `penstock top` shows: as many rows as fit, none of them wrapped, each part in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.queue.names import PRIORITIES
from penstock_worker.cli.common import in_bytes
from penstock_worker.top import lists
from penstock_worker.top.cells import Column, age, count, grid, line, rate, safe
from penstock_worker.top.lists import Part, Row
from penstock_worker.top.view import View

WIDE = 110
"""Columns from which there is room for more facts."""

FLOW_ROWS = 3
"""Kept for the flows, which come last: they come and go, and nothing stands below them that would move."""

PROBLEM_LINES = 2

ALMOST_FULL = 0.8


@dataclass(frozen=True, slots=True)
class Away:
    """Redis does not answer. ``problem`` says so in one line for people."""

    since: datetime
    problem: str


def draw(view: View | None, away: Away | None, now: datetime, *, width: int, height: int | None) -> Group:
    """One frame. ``height`` in lines, None for all that there is. Without a view yet, ``away`` says why."""
    drawn: list[RenderableType] = [] if away is None else _away(away, now, width, has_view=view is not None)
    if view is not None:
        drawn += [_title(view, width), _room(view), _traffic(view), _errors(view)]
        numbers = _numbers(view, wide=width >= WIDE)
        room = None if height is None else height - len(drawn) - numbers.row_count
        drawn += [numbers, *_lists(view, wide=width >= WIDE, room=room)]
    return Group(*drawn)


def _away(away: Away, now: datetime, width: int, *, has_view: bool) -> list[RenderableType]:
    lasting = age(max(0.0, (now - away.since).total_seconds()))
    then = "below is the last look" if has_view else "it is asked again and again"
    what = f"REDIS DOES NOT ANSWER since {away.since.astimezone(UTC):%H:%M:%S} UTC ({lasting}): {then}"
    why = wrap(safe(away.problem), width, max_lines=PROBLEM_LINES, placeholder=" …")
    return [line((what, "bold red")), *[line((part, "red")) for part in why]]


def _title(view: View, width: int) -> Table:
    stats, alive = view.look.stats, len(view.look.alive)
    title = line(("penstock top", "bold"))
    if stats.paused:
        title.append("  PAUSED", style="bold yellow")
    if not alive:
        title.append("  NO WORKER IS ALIVE", style="bold red")
    if view.look.log_level is not None:
        title.append(f"  log level {view.look.log_level}", style="yellow")
    title.append(f"  queue {stats.queue}")
    at = datetime.fromtimestamp(stats.now, UTC)
    clock = f"{at:%Y-%m-%d %H:%M:%S} UTC" if width >= WIDE else f"{at:%H:%M:%S} UTC"
    return grid([Column(""), Column("", len(clock))], [[title, clock]], headed=False)


def _room(view: View) -> Text:
    """How full the queue is."""
    stats = view.look.stats
    text = line()
    for label, held, limit, shown in (
        ("items", stats.items, stats.limits.items, count),
        ("bytes", stats.bytes, stats.limits.bytes, in_bytes),
    ):
        share = held / limit
        style = "bold red" if share >= 1 else "yellow" if share > ALMOST_FULL else ""
        text.append(f"{label} {shown(held)} ")
        text.append(f"({f'{int(100 * share)}% of' if share < 1 else 'FULL:'} {shown(limit)})", style=style)
        text.append("  ")
    return text


def _traffic(view: View) -> Text:
    refused = {reason: a_second for reason, a_second in view.rejected.items() if a_second}
    why = f" (limit of {', '.join(refused)})" if refused else ""
    return line(
        f"stored {rate(view.stored)}/s, {in_bytes(round(view.stored_bytes))}/s",
        f"  coalesced {rate(view.coalesced)}/s",
        "  ",
        (f"rejected {rate(_sum(view.rejected))}/s{why}", "bold red" if refused else ""),
    )


def _errors(view: View) -> Text:
    if not view.errors:
        return line("S3 errors in the last minute: none")
    text = line("S3 errors in the last minute: ")
    text.append(", ".join(f"{code} {number:,} ({kind})" for kind, code, number in view.errors), style="red")
    return text


def _numbers(view: View, *, wide: bool) -> Table:
    """By priority on the left, by state on the right."""
    stats = view.look.stats
    columns = [Column("priority", 8), Column("ready", 9, right=True), Column("oldest", 6, right=True)]
    columns += [
        Column("accepted/s", 10, right=True),
        Column("latency p50", 11, right=True),
        Column("p95", 6, right=True),
    ]
    columns += [Column("p99", 6, right=True)] if wide else []
    columns += [Column(""), Column("state", 9), Column("writes", 9, right=True)]
    ages = [one for one in stats.oldest_age.values() if one is not None]
    left = [(name, stats.ready[name], stats.oldest_age[name], view.accepted[name]) for name in PRIORITIES]
    left.append(("all", sum(stats.ready.values()), max(ages, default=None), _sum(view.accepted)))
    right = [("in flight", stats.inflight, ""), ("delayed", stats.delayed, ""), ("parked", stats.parked, "red")]
    right += [("contested", stats.contested, "yellow"), ("set aside", stats.set_aside, "yellow")]
    rows: list[Row] = []
    for (name, ready, oldest, accepted), (state, number, style) in zip(left, right, strict=True):
        latency = view.latency[name]
        slow = (latency.p50, latency.p95, latency.p99) if wide else (latency.p50, latency.p95)
        shown = Text(count(number), style=style if number else "")
        rows.append((name, count(ready), age(oldest), rate(accepted), *[age(one) for one in slow], "", state, shown))
    return grid(columns, rows)


def _lists(view: View, *, wide: bool, room: int | None) -> list[RenderableType]:
    parts = [lists.held_up(view), lists.workers(view, wide), lists.dead_letters(view, wide), lists.flows(view)]
    whole = [len(part.rows) for part in parts]
    shares = whole if room is None else share_out(max(0, room - len(parts)), parts)
    return [part.draw(share) for part, share in zip(parts, shares, strict=True)]


def share_out(room: int, parts: Sequence[Part]) -> list[int]:
    """How many rows each part gets: one each in turn, until there is no more room. What is left is the last one's."""
    *others, last = parts
    kept = min(FLOW_ROWS, room)
    shares, left = [0] * len(others), room - kept
    while left > 0:
        wanting = [at for at, part in enumerate(others) if shares[at] < len(part.rows)][:left]
        if not wanting:
            break
        for at in wanting:
            shares[at] += 1
        left -= len(wanting)
    return [*shares, min(len(last.rows), kept + left)]


def _sum(rates: dict[str, float | None]) -> float | None:
    known = [one for one in rates.values() if one is not None]
    return sum(known) if known else None
