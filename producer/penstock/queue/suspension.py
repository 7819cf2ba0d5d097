"""Suspended buckets: their destination is broken for every worker; one write at a time tries whether it lives again."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from penstock.queue.answers import parse_batch
from penstock.queue.blocks import STEP
from penstock.queue.client import Queue
from penstock.queue.results import Batch, Failure
from penstock.queue.workers import ALIVE_SECONDS

FIRST_PROBE_SECONDS = 1.0
LONGEST_PROBE_SECONDS = 30.0
JITTER = 0.25
"""A probe's interval doubles from the first to the longest, and is off by up to this share of it."""

CONFIRM_SECONDS = 60.0
"""For so long a worker's finding counts when another one finds the same."""


class Answer(StrEnum):
    """What the queue made of a worker's finding. UNCONFIRMED: others are alive that did not find the same yet."""

    SUSPENDED = "s"
    ALREADY = "a"
    UNCONFIRMED = "w"
    TOO_MANY = "f"


@dataclass(frozen=True, slots=True)
class Probe:
    """``wait``: seconds until a probe is due, None when no bucket is suspended. Others as in `ClaimReply`."""

    wait: float | None
    alone: bool
    needs: int
    bucket: str | None
    batch: Batch | None


def suspend(queue: Queue, bucket: str, worker: str, failure: Failure) -> Answer:
    """Worker ``worker`` found the destination of a bucket broken by ``failure``."""
    answer = queue.run(
        "suspend",
        bucket,
        worker,
        failure.error_class,
        failure.code,
        failure.http_status or "",
        int(FIRST_PROBE_SECONDS * 1e6),
        int(CONFIRM_SECONDS * 1e6),
        int(ALIVE_SECONDS * 1e6),
    )
    return Answer(answer.decode())


def resume(queue: Queue, bucket: str) -> datetime | None:
    """The destination lives: all that was held back may be claimed. Returns since when it was suspended, if it was."""
    since = queue.run("resume", bucket, STEP)
    while since and queue.run("unblock", STEP)[2]:
        pass
    return datetime.fromtimestamp(since / 1e6, UTC) if since else None


def probe(
    queue: Queue, token: str, *, lease: float, budget: int, holds_none: bool, buckets: Collection[str] | None
) -> Probe:
    """Claims one write of a suspended bucket if its probe is due. ``buckets``: those that may be used, or all."""
    wait, alone, epoch, needs, *claimed = queue.run(
        "probe",
        int(lease * 1000),
        int(budget),
        int(holds_none),
        token,
        random.uniform(1 - JITTER, 1 + JITTER),
        int(LONGEST_PROBE_SECONDS * 1e6),
        queue.window,
        *(() if buckets is None else buckets or ("",)),  # no bucket has that name
    )
    bucket, batch = (claimed[0].decode(), parse_batch(claimed[1], epoch)) if claimed else (None, None)
    return Probe(None if wait < 0 else wait / 1000, bool(alone), needs, bucket, batch)
