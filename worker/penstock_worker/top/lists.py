"""The lists of `penstock top`, each of which may be longer than there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from penstock.queue.results import Block
from penstock.queue.workers import WorkerSeen
from penstock_worker.cli.common import in_bytes
from penstock_worker.cli.pause import name_of
from penstock_worker.top.cells import NONE, Cell, Column, Squeezed, age, count, grid, rate
from penstock_worker.top.view import View

Row = Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Part:
    """``name`` heads the first column, with how many of ``total`` are shown, or with ``many`` instead. ``rows`` may be
    fewer than there are."""

    name: str
    total: int
    columns: tuple[Column, ...]
    rows: list[Row]
    many: str = ""

    def draw(self, most: int) -> Table:
        shown = min(most, len(self.rows))
        many = self.many or (count(self.total) if shown == self.total else f"{shown} of {self.total:,}")
        return grid((Column(f"{self.name}: {many if self.total else 'none'}"), *self.columns), self.rows[:shown])


def held_up(view: View) -> Part:
    """Blocks: what is paused or suspended, by whom or why, since when."""
    now = view.look.stats.now
    blocks = sorted(view.look.stats.blocks, key=lambda block: block.since)
    columns = (Column("reason", 10), Column("for", 6, right=True), Column("note"))
    return Part("HELD UP", len(blocks), columns, [_block(block, now) for block in blocks])


def _block(block: Block, now: float) -> Row:
    what = name_of(block.bucket, block.tenant)
    return (what, Text(block.reason, style="yellow"), age(max(0.0, now - block.since.timestamp())), block.note or NONE)


def workers(view: View, wide: bool) -> Part:
    """All of the last hour; the living come first."""
    columns = [Column("version", 8), Column("state", 15), Column("in flight", 9, right=True)]
    columns += [Column("lease", 6, right=True), Column("S3 reqs", 7, right=True), Column("stored/s", 8, right=True)]
    if wide:
        columns += [Column("stored", 11, right=True), Column("up", 6, right=True), Column("engine", 7)]
        columns.append(Column("S3 requests by bucket"))
    seen = view.look.workers
    rows = [_worker(worker, wide) for worker in seen]
    return Part("WORKERS", len(seen), tuple(columns), rows, f"{len(view.look.alive):,}/{len(seen):,} alive")


def _worker(worker: WorkerSeen, wide: bool) -> Row:
    facts, alive = worker.facts, worker.is_alive
    if not alive:
        state = Text(f"silent {age(worker.age)}", style="red")
    elif facts.state == "running":
        state = Text("running")
    else:
        state = Text(f"{facts.state} {age(facts.state_seconds)}", style="yellow")
    a_second = facts.rate.writes / facts.rate.seconds if facts.rate.seconds > 0 else 0.0
    now: Row = (NONE,) * 4
    if alive:
        now = (count(facts.in_flight), age(facts.lease_left), _at_once(worker), rate(a_second))
    more: Row = ()
    if wide:
        by_bucket = ", ".join(f"{bucket} {most}" for bucket, most in sorted(facts.concurrency.items()))
        more = (count(facts.stored), age(facts.up_seconds), facts.engine, by_bucket or NONE)
    return (Squeezed(f"{facts.host}:{facts.pid}"), facts.version, state, *now, *more)


def _at_once(worker: WorkerSeen) -> str:
    """Requests that a bucket may have under way: the fewest and the most of its buckets."""
    limits = worker.facts.concurrency.values()
    if not limits:
        return NONE
    return f"{min(limits)}" if min(limits) == max(limits) else f"{min(limits)}–{max(limits)}"


def dead_letters(view: View, wide: bool) -> Part:
    """The newest first."""
    stats, now = view.look.stats, view.look.stats.now
    columns = [Column("code", 24), Column("ago", 6, right=True)]
    if wide:
        columns += [Column("tries", 5, right=True), Column("message")]
    rows: list[Row] = []
    for letter in view.look.dead:
        row: Row = (
            Squeezed(f"{letter.bucket}/{letter.key}"),
            letter.failure.code,
            age(max(0.0, now - letter.died_at.timestamp())),
        )
        rows.append((*row, str(letter.attempts), letter.failure.message) if wide else row)
    name = f"DEAD, {in_bytes(stats.dead_bytes)} of {in_bytes(stats.limits.dead_bytes)}"
    return Part(name, stats.dead, tuple(columns), rows)


def flows(view: View) -> Part:
    """The oldest first."""
    columns = [Column("tenant"), Column("priority", 8), Column("ready", 9, right=True)]
    columns += [Column("oldest", 6, right=True), Column("", 9)]
    found = view.look.flows
    rows: list[Row] = [
        (
            flow.bucket, flow.tenant or NONE, flow.priority, count(flow.ready), age(flow.oldest_age),
            Text("set aside", style="yellow") if flow.set_aside else "",
        )
        for flow in found.oldest
    ]  # fmt: skip
    return Part("FLOWS", sum(found.count.values()), tuple(columns), rows)
