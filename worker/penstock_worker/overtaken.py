"""Rule EPOCH: what was accepted before Redis lost its last steps is sent only if the object is not of a newer write.

In the lost time a newer write of the same name may have been accepted and stored, of which the queue knows nothing.
"""

from __future__ import annotations

import time

import structlog

from penstock.queue.results import Claimed, Outcome, Settlement
from penstock_worker.held import HeldClaim
from penstock_worker.outcomes import Outcomes, Parts
from penstock_worker.stores import ErrorClass, StoreFault
from penstock_worker.turns import Ended

log = structlog.get_logger()

LOOK_FAILED = "the look before the upload failed"


def is_overtaken(write: Claimed, claim: HeldClaim, parts: Parts, outcomes: Outcomes) -> bool:
    """Looks at the object, if the write needs it. True: nothing is to be sent, and why is noted in ``outcomes``.

    One HEAD request, in the turn of the upload that may follow.
    """
    if write.seq >= claim.batch.epoch:
        return False
    bucket = write.bucket
    if parts.stops(bucket, claim):
        outcomes.add(Settlement(write.name, Outcome.NEVER_SENT))
        return True
    began = time.monotonic()
    try:
        info = parts.store.head(bucket, write.key)
    except StoreFault as fault:
        parts.metrics.error("head", fault)
        parts.turns.record(bucket, Ended(began, None, fault))
        parts.breaker.answered(bucket, [fault], is_probe=claim.is_probe)
        outcomes.failed(write, _surely_not_applied(fault))
        return True
    if info is None or info.seq is None or info.seq <= write.seq:
        parts.breaker.gave_up(bucket)  # the upload asks again
        return False
    parts.breaker.answered(bucket, [], is_probe=claim.is_probe)
    log.warning("write_overtaken", bucket=bucket, key=write.key, seq=write.seq, object_seq=info.seq)
    outcomes.add(Settlement(write.name, Outcome.OVERTAKEN))
    return True


def _surely_not_applied(fault: StoreFault) -> StoreFault:
    """A look changes nothing, so that a lost answer leaves no doubt; and a refused one is not the write's own fault."""
    kind = fault.error_class
    if kind is ErrorClass.UNKNOWN:
        kind = ErrorClass.TRANSIENT
    return StoreFault(kind, fault.code, fault.http_status, f"{LOOK_FAILED}: {fault.message}")
