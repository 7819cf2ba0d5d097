"""What becomes of calls that Redis did not answer, where a producer has a spool. Shared by threads and asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.calls import Caller, Options
from penstock.errors import PenstockError, QueueUnavailable
from penstock.queue.commit import Group
from penstock.queue.enqueue import Accepted
from penstock.queue.names import shard_of

if TYPE_CHECKING:
    from penstock.spool.append import Spool
    from penstock.spool.duty import ReplayDuty
    from penstock.spool.flag import Mark, Watch


def open_spool(options: Options) -> Spool | None:
    """The options' spool. Raises InvalidSetting."""
    if options.spool is None:
        return None
    # Here, because of sqlite3, which who has no spool need not load.
    from penstock.spool.append import Spool

    return Spool(options.spool, options.queue, options.spool_max_bytes, options.timeout)


def begin_replay(options: Options, spool: Spool | None) -> ReplayDuty | None:
    if spool is None:
        return None
    from penstock.spool.duty import ReplayDuty

    return ReplayDuty(options, spool)


def note_given(watch: Watch, outcomes: list[Accepted | PenstockError]) -> None:
    """Of all that a call accepted: beside what was refused, and also where it is not as durable as asked for."""
    highest = 0  # which is also what a superseded write of a replay has
    for outcome in outcomes:
        if isinstance(outcome, PenstockError):
            accepted = [(receipt.seq, receipt.coalesced) for receipt in outcome.receipts]
        else:
            accepted = outcome
        if accepted and (last := max(accepted)[0]) > highest:
            highest = last
    watch.given(highest)


def keep_lost(
    spool: Spool, caller: Caller, mark: Mark, groups: list[Group], error: PenstockError
) -> list[Accepted | PenstockError]:
    """A call that was sent and not answered goes into the spool as a whole, under its own number. Other errors stay."""
    if not groups or not isinstance(error, QueueUnavailable) or not error.maybe_accepted:
        return [error] * len(groups)
    from penstock.spool.clock import Moment
    from penstock.spool.rows import Origin

    (at, floor), durability = mark, caller.options.durability.name
    origin = Origin(caller.shard, caller.shards, Moment.of(at), floor, durability, *caller.last_call)
    try:
        spool.append(groups, origin, error)
    except PenstockError as failed:
        return [failed] * len(groups)
    return [[(0, False)] * len(group) for group in groups]


def keep(spool: Spool, options: Options, shards: int, group: Group, cause: QueueUnavailable | None) -> Accepted:
    """A group goes into the spool: nothing of it was accepted, or what was is superseded by itself.

    Raises:
        QueueFull, QueueUnavailable: the spool cannot take it.
    """
    from penstock.spool.append import SpoolFailedError
    from penstock.spool.clock import Moment
    from penstock.spool.rows import Origin

    if isinstance(cause, SpoolFailedError):
        raise cause
    shard = shard_of(group[0].name, shards)
    at, floor = spool.flag.watch(shard, shards).mark()
    spool.append([group], Origin(shard, shards, Moment.of(at), floor, options.durability.name), cause)
    return [(0, False)] * len(group)
