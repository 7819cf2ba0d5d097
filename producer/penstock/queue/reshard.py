"""Changes a queue's number of shards. Names would come to other shards, so nothing may be left in the queue.

All shards are closed to producers, which wait meanwhile; then they are looked at, and opened with the new number or,
when something is left, as they were. Those that are no more come first: one that is not closed any more, because its
server failed over and forgot it, may have accepted something, and then all stay as they were. Shard 0 is next: whoever
knows no number, or a wrong one, asks there. When this is interrupted, shards stay closed, and doing it again with any
number goes on from there.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import cast

import redis

from penstock.errors import InvalidSetting, PenstockError
from penstock.queue import blocks
from penstock.queue.client import Queue
from penstock.queue.names import MAX_SHARDS
from penstock.queue.results import Limits, Stats
from penstock.queue.sharded import ShardedQueue, part_of

_LEFTOVERS = (
    *("count", "count:more", "state", "audit", "settled", "ok", "blocks", "ending", "suspended", "suspects"),
    *("worker", "workers", "wake"),
)
"""What an empty shard may still have beside its meta, and the answers to producers' last calls."""
_EPOCH = ("epoch_seq", "epoch_at", "epoch_until")
"""Fields of meta, see scripts/include/epoch.lua."""
_COUNTED = tuple(f"{what}{priority}" for what in ("acc", "coa") for priority in range(4))
_REJECTED = tuple(f"rejected_{reason}" for reason in ("items", "bytes", "body"))


LOOK_SECONDS = 0.1
"""Between two looks whether the queue is empty by now."""


def reshard(queue: ShardedQueue, count: int, *, wait: float = 0.0) -> bool:
    """Gives an empty queue ``count`` shards, and each its part of the limits. False when it has so many already.

    With the number that it has, it opens shards again that were left closed, or have lost their meta with their server.

    Args:
        wait: seconds for which the queue stays closed to producers at most, until workers have emptied it.

    Raises:
        PenstockError: something is left in the queue, or another command changes the number too; nothing was changed.
        InvalidSetting: so many shards cannot be.
    """
    if not 1 <= count <= MAX_SHARDS:
        raise InvalidSetting(f"{count} shards: 1 to {MAX_SHARDS} are possible")
    queue.refresh()
    old, new = queue.shards, queue.with_shards(count)
    every = [*new, *(shard for shard in old[1:] if len(old) != count)]
    stats = {shard.prefix: shard.stats() for shard in every}
    if len(old) == count and all(one.shards == count for one in stats.values()):
        return False
    limits = _limits(old, stats)
    changes = len(old) != count
    gone = old[1:] if changes else ()
    whole = [limits[shard.prefix] for shard in old]
    parts = {shard.prefix: _part(whole, shard.shard, count) for shard in new} if changes else limits
    if any(min(astuple(part)) < 1 for part in parts.values()):
        raise InvalidSetting(f"a limit of the queue must be at least 1 for each of its shards, {count}: raise it first")
    token, opened = secrets.token_hex(8), list[Queue]()
    try:
        for shard in every:
            shard.run("reshard", token, len(old))
        if changes:
            _wait_until_empty(every, wait)
            _prepare(new[1:], stats[new[0].prefix])
        last = max(shard.counters()["last"] for shard in every)
        rest = last, *_last_epoch(old)
        for shard in (*gone, new[0]):
            opened.append(shard)
            _open(shard, token, count, (limits if shard in gone else parts)[shard.prefix], *rest)
    except BaseException as error:
        if isinstance(error, PenstockError):
            opened = opened[:-1]  # that one is not; else its answer may have been lost
        for shard in every if new[0] not in opened else ():
            with suppress(redis.exceptions.RedisError):
                if shard in opened:
                    shard.run("reshard", token, len(old))
                shard.run("reshard", token, "", len(old), *astuple(limits.get(shard.prefix, limits[new[0].prefix])), 0)
        raise
    for shard in new[1:]:
        _open(shard, token, count, parts[shard.prefix], *rest)
    if changes:
        _keep_counters(new[0], gone)
    queue.refresh()
    return True


def _limits(shards: Sequence[Queue], stats: dict[str, Stats]) -> dict[str, Limits]:
    """Each one's; of one that has lost its own, the first one's."""
    found = {shards[0].prefix: stats[shards[0].prefix].limits}
    for shard in shards[1:]:
        has_limits = shard.client.hexists(shard.prefix + "meta", "items")
        found[shard.prefix] = stats[shard.prefix if has_limits else shards[0].prefix].limits
    return found


def _part(whole: Iterable[Limits], shard: int, shards: int) -> Limits:
    each = list(whole)
    return Limits(
        part_of(sum(one.items for one in each), shard, shards),
        part_of(sum(one.bytes for one in each), shard, shards),
        part_of(sum(one.dead_bytes for one in each), shard, shards),
    )


def _wait_until_empty(shards: Sequence[Queue], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        each = [shard.stats() for shard in shards]
        writes, dead, contested = (sum(getattr(one, what) for one in each) for what in ("items", "dead", "contested"))
        if not (writes or dead or contested):
            return
        if dead or time.monotonic() >= deadline:
            raise PenstockError(_whats_left(writes, dead, contested))
        time.sleep(LOOK_SECONDS)


def _whats_left(writes: int, dead: int, contested: int) -> str:
    left = []
    if writes:
        left.append(f"{writes:,} writes (stop the producers, and wait with `penstock queue drain`)")
    if dead:
        left.append(f"{dead:,} dead letters (`penstock dead export FILE`, then `penstock dead purge --all`)")
    if contested:
        left.append(f"{contested:,} contested names (they are over within PENSTOCK_GUARD_SECONDS, while a worker runs)")
    return f"the number of shards can be changed only while the queue is empty; left: {', '.join(left)}"


def _prepare(shards: Iterable[Queue], first: Stats) -> None:
    """What these kept from an earlier time goes; what an operator holds up is held up there too."""
    for shard in shards:
        shard.client.unlink(*(shard.prefix + key for key in _LEFTOVERS))
        shard.client.hdel(shard.prefix + "meta", "epoch_of", *_EPOCH)
        for block in first.blocks:
            if block.reason == blocks.PAUSE:
                blocks.block(shard, block.bucket, block.tenant, note=block.note)


def _open(shard: Queue, token: str, count: int, limits: Limits, *rest: int) -> None:
    if not shard.run("reshard", token, "", count, *astuple(limits), *rest):
        raise PenstockError(
            "another command changes the number of shards, or a server was replaced meanwhile: look with "
            "`penstock queue stats`, and do it again"
        )


def _last_epoch(shards: Iterable[Queue]) -> tuple[int, ...]:
    """The last epoch of all shards, as `reshard.lua` takes it; without its end while one is still to get it."""
    each = [cast("list[bytes | None]", shard.client.hmget(shard.prefix + "meta", _EPOCH)) for shard in shards]
    found = [(int(seq), int(at or 0), int(till or 0)) for seq, at, till in each if seq is not None]
    if not found:
        return ()
    seq, at, _ = max(found)
    ends = [till for *_, till in found]
    return (seq, at, max(ends)) if all(ends) else (seq, at)


def _keep_counters(first: Queue, gone: Iterable[Queue]) -> None:
    """Counters of writes only grow, whatever becomes of shards: who watches them takes rates."""
    names = [*_COUNTED, *_REJECTED]
    for shard in gone:
        counted = shard.counters()
        shard.client.unlink(*(shard.prefix + key for key in _LEFTOVERS))
        first.counters({name: counted[name] for name in names})
