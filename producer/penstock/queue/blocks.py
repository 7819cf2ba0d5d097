"""Blocks: buckets and tenants that claims leave alone, for a reason, until it is taken back.

A flow that a claim meets while it is blocked is set aside and costs claims nothing from then on. When its block ends it
comes back in bounded steps, taken by whoever ended the block and by every sweep, so that none is left behind.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import InvalidSetting, PenstockError
from penstock.queue.client import Queue

PAUSE = "pause"
"""The reason of an operator. Others have their own, and end only their own."""

STEP = 50
"""Flows one call brings back: half a millisecond of Redis's time."""


def block(queue: Queue, bucket: str | None, tenant: str | None, *, reason: str = PAUSE, note: str = "") -> bool:
    """Blocks the whole queue (no bucket), a bucket (no tenant) or one tenant of it; writes in flight go on.

    Returns:
        False when it was blocked for this reason already.

    Raises:
        PenstockError: there are 1,000 blocks already.
    """
    answer: int = queue.run("block", _subject(bucket, tenant), reason, note)
    if answer < 0:
        raise PenstockError("1,000 buckets and tenants are blocked already: block whole buckets, or the queue")
    return bool(answer)


def unblock(
    queue: Queue,
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
    removed, back, more = queue.run("unblock", step, _subject(bucket, tenant), reason)
    progress(back)
    while more:
        _, back, more = queue.run("unblock", step)
        progress(back)
    return bool(removed)


def _subject(bucket: str | None, tenant: str | None) -> str:
    if bucket is None:
        if tenant is not None:
            raise InvalidSetting("a tenant is blocked in a bucket: name that too")
        return ""
    if not bucket or "/" in bucket:
        raise InvalidSetting(f"{bucket!r} is not the name of a bucket")
    return bucket if tenant is None else f"{bucket}/{tenant}"
