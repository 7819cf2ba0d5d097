"""What a claim's answer tells of the queue beside its batches, for the log."""

from __future__ import annotations

import structlog

from penstock.queue.results import ClaimReply

log = structlog.get_logger()


class ClaimLog:
    """Of one shard's claims. Used by one thread."""

    def __init__(self) -> None:
        self._epoch = 0

    def tell(self, reply: ClaimReply) -> None:
        if reply.epoch > self._epoch and reply.epoch_left:
            log.warning(
                "epoch_began",
                seq=reply.epoch,
                seconds=round(reply.epoch_left),
                remedy="Redis restarted, or another server took over: it may have lost what it was told last",
            )
        self._epoch = reply.epoch
        if reply.newer_wire:
            log.warning(
                "newer_wire_version",
                writes=reply.newer_wire,
                remedy="upgrade this worker: it leaves these writes to newer ones",
            )
        if reply.missing:
            log.error(
                "writes_evicted",
                writes=reply.missing,
                remedy="Redis threw accepted writes away: set maxmemory-policy noeviction",
            )
