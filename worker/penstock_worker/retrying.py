"""Calls to Redis that belong to a claim, tried again while its lease lives: Redis may be away for a moment."""

from __future__ import annotations

import redis
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from penstock_worker.held import Held, HeldClaim, boottime

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between tries, with full jitter: a Redis that is back is found within a second."""


def while_leased(claim: HeldClaim, held: Held) -> Retrying:
    """Tries until the lease is over or the worker must stop at once; then tenacity.RetryError."""

    def over(_: RetryCallState) -> bool:
        return boottime() >= claim.deadline or held.aborting.is_set()

    return Retrying(
        retry=retry_if_exception_type(redis.exceptions.RedisError),
        wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
        stop=over,
    )
