"""Blocks: buckets and tenants that claims leave alone, for a reason, until it is taken back.

A flow that a claim meets while it is blocked is set aside and costs claims nothing from then on. When its block ends it
comes back in bounded steps, taken by whoever ended the block and by every sweep, so that none is left behind.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import InvalidSetting, PenstockError
from penstock.queue.sharded import AnyQueue

PAUSE = "pause"
"""The reason of an operator. Others have their own, and end only their own."""

STEP = 50
"""Flows one call brings back: half a millisecond of Redis's time."""


def block(queue: AnyQueue, bucket: str | None, tenant: str | None, *, reason: str = PAUSE, note: str = "") -> bool:
    """Blocks the whole queue (no bucket), a bucket (no tenant) or one tenant of it; writes in flight go on.

    One call for each shard.

    Returns:
        False when it was blocked for this reason already.

    Raises:
        PenstockError: there are 1,000 blocks already.
    """
    answers: list[int] = [shard.run("block", _subject(bucket, tenant), reason, note) for shard in queue.shards]
    if min(answers) < 0:
        raise PenstockError("1,000 buckets and tenants are blocked already: block whole buckets, or the queue")
    return any(answers)


def unblock(
    queue: AnyQueue,
    bucket: str | None,
    tenant: str | None,
    *,
    reason: str = PAUSE,
    step: int = STEP,
    progress: Callable[[int], None] = lambda flows: None,
) -> bool:
    """Takes the reason back and brings back what no other block holds; as many calls as that takes.

    Args:
        progress: called after each step with the number of flows that it brought back.

    Returns:
        False when it was not blocked for this reason.
    """
    ended = False
    for shard in queue.shards:
        removed, back, more = shard.run("unblock", step, _subject(bucket, tenant), reason)
        ended = ended or bool(removed)
        progress(back)
        while more:
            _, back, more = shard.run("unblock", step)
            progress(back)
    return ended


def _subject(bucket: str | None, tenant: str | None) -> str:
    if bucket is None:
        if tenant is not None:
            raise InvalidSetting("a tenant is blocked in a bucket: name that too")
        return ""
    if not bucket or "/" in bucket:
        raise InvalidSetting(f"{bucket!r} is not the name of a bucket")
    return bucket if tenant is None else f"{bucket}/{tenant}"
