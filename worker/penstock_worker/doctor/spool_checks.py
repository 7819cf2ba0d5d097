"""Does what this host accepted while Redis was away still wait here?"""

from __future__ import annotations

import os

from penstock.spool.look import spool_stats
from penstock_worker.cli.common import in_bytes, in_seconds
from penstock_worker.doctor.base import Check, Finding, broken, ok, skipped, warning
from penstock_worker.doctor.redis_checks import FULL
from penstock_worker.doctor.site import Site

OLD = 60.0
"""Seconds: a producer that runs and reaches Redis sends what waits within a few."""


def spool(site: Site) -> Finding:
    settings = site.settings
    if settings.spool is None:
        return skipped("PENSTOCK_SPOOL is not set")
    if os.path.isdir(settings.spool) and not os.access(settings.spool, os.W_OK):
        return broken(f"{settings.spool} cannot be written", "give the producers' user the right to")
    stats = spool_stats(settings.spool, settings.queue)
    held = f"{stats.writes:,} writes, {in_bytes(stats.bytes)}"
    if stats.bytes > FULL * settings.spool_max_bytes:
        return broken(
            f"{held} of {in_bytes(settings.spool_max_bytes)}", "bring Redis back: writes are about to be refused"
        )
    if stats.oldest_age is not None and stats.oldest_age > OLD:
        return warning(
            f"{held}, the oldest for {in_seconds(stats.oldest_age)}",
            "if Redis is there, start a producer of this host, or run `penstock spool flush`",
        )
    if stats.aside:
        return warning(f"{stats.aside[0]} could not be read and was set aside", "see docs/spool.md, then move it away")
    return ok(f"{held} in {stats.path}")


SPOOL_CHECKS = (Check("spool", spool),)
