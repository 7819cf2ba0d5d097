"""What the shards of a queue tell, put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from penstock.queue.results import Block, Limits, Stats, Suspension


def merge_stats(each: Sequence[Stats]) -> Stats:
    """All shards as one queue, the first one first. What one shard holds up is held up."""
    first = each[0]
    if len(each) == 1:
        return first
    return replace(
        first,
        paused=any(one.paused for one in each),
        ready=_added(one.ready for one in each),
        delayed=sum(one.delayed for one in each),
        inflight=sum(one.inflight for one in each),
        parked=sum(one.parked for one in each),
        dead=sum(one.dead for one in each),
        contested=sum(one.contested for one in each),
        items=sum(one.items for one in each),
        bytes=sum(one.bytes for one in each),
        dead_bytes=sum(one.dead_bytes for one in each),
        oldest_age=_oldest(one.oldest_age for one in each),
        limits=Limits(
            sum(one.limits.items for one in each),
            sum(one.limits.bytes for one in each),
            sum(one.limits.dead_bytes for one in each),
        ),
        accepted=_added(one.accepted for one in each),
        coalesced=_added(one.coalesced for one in each),
        rejected=_added(one.rejected for one in each),
        blocks=_blocks(block for one in each for block in one.blocks),
        suspended=_suspended(bucket for one in each for bucket in one.suspended),
        set_aside=sum(one.set_aside for one in each),
        epoch_left=max(one.epoch_left for one in each),
    )


def _added(each: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in each:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total


def _oldest(each: Iterable[dict[str, float | None]]) -> dict[str, float | None]:
    oldest: dict[str, float | None] = {}
    for one in each:
        for name, age in one.items():
            known = oldest.get(name)
            oldest[name] = age if known is None else known if age is None else max(known, age)
    return oldest


def _blocks(each: Iterable[Block]) -> list[Block]:
    """A block is one of every shard's, and began where it began first."""
    found: dict[tuple[str, str | None, str], Block] = {}
    for block in each:
        what = block.bucket or "", block.tenant, block.reason
        if what not in found or block.since < found[what].since:
            found[what] = block
    return sorted(found.values(), key=lambda block: (block.bucket or "", block.tenant or "", block.reason))


def _suspended(each: Iterable[Suspension]) -> list[Suspension]:
    """Each shard probes with writes of its own."""
    found: dict[str, Suspension] = {}
    for one in each:
        known = found.get(one.bucket)
        if known is None:
            found[one.bucket] = one
        else:
            found[one.bucket] = replace(
                min(known, one, key=lambda each: each.since),
                next_probe=min(known.next_probe, one.next_probe),
                probes=known.probes + one.probes,
            )
    return sorted(found.values(), key=lambda one: one.bucket)
