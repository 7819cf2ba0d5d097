"""What becomes of calls that Redis did not answer, where a producer has a spool. Shared by threads and asyncio."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.calls import Caller, Options, receipts
from penstock.errors import PenstockError, QueueUnavailable
from penstock.queue.commit import Group
from penstock.queue.enqueue import Accepted
from penstock.queue.names import shard_of
from penstock.values import Receipt

if TYPE_CHECKING:
    from penstock.spool.append import Spool
    from penstock.spool.duty import ReplayDuty
    from penstock.spool.rows import Origin


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


def note_given(spool: Spool, caller: Caller, outcomes: list[Accepted | PenstockError]) -> None:
    """The host remembers the highest number, so that a write it spools later is not taken for an older one."""
    last = outcomes[-1]
    if isinstance(last, list):
        spool.flag.given(caller.shard, caller.shards, last[-1][0])


def keep_lost(
    spool: Spool, caller: Caller, origin: Origin, groups: list[Group], error: PenstockError
) -> list[Accepted | PenstockError]:
    """A call that was sent and not answered goes into the spool as a whole, under its own number. Other errors stay."""
    if not isinstance(error, QueueUnavailable) or not error.maybe_accepted:
        return [error] * len(groups)
    producer, number = caller.last_call
    try:
        spool.append(groups, replace(origin, producer=producer, number=number), error)
    except PenstockError as failed:
        return [failed] * len(groups)
    return [[(0, False)] * len(group) for group in groups]


def keep(spool: Spool, options: Options, shards: int, group: Group, cause: QueueUnavailable | None) -> list[Receipt]:
    """A group goes into the spool: nothing of it was accepted, or what was is superseded by itself.

    Raises:
        QueueFull, QueueUnavailable: the spool cannot take it.
    """
    from penstock.spool.append import SpoolFailedError

    if isinstance(cause, SpoolFailedError):
        raise cause
    spool.append([group], spool.origin(shard_of(group[0].name, shards), shards, options.durability.name), cause)
    return receipts([(0, False)] * len(group), group)
