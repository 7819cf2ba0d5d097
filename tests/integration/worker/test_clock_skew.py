"""A worker on a host whose clock is wrong claims nothing, says why, and goes on once the clock is set."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from tests.support.memory_s3 import MemoryS3
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, IMPORT_PATH, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

SHIFTED_CLOCK = """
import time
from pathlib import Path
_right = time.time
def _shifted(offset=Path(__file__).with_name("offset")):
    return _right() + float(offset.read_text() or 0)
time.time = _shifted
"""
"""Python runs a sitecustomize before all else: the worker is the real one, and only its clock is not."""


def set_clock(directory: Path, ahead: float) -> None:
    (directory / "next").write_text(str(ahead))
    (directory / "next").replace(directory / "offset")


def test_a_worker_whose_clock_is_off_claims_nothing_says_so_once_and_goes_on_when_it_is_set(
    tmp_path: Path, producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    set_clock(tmp_path, 0.0)
    worker = start_worker(PYTHONPATH=os.pathsep.join([str(tmp_path), IMPORT_PATH]))
    set_clock(tmp_path, 3600.0)
    wait_until(lambda: worker.get("/readyz")[0] == 503, LIMIT, "it is not ready")
    reasons = json.loads(worker.get("/readyz")[1])["reasons"]
    assert any("30 s are allowed" in reason for reason in reasons)
    assert worker.get("/healthz")[0] == 200, "a restart would not help"
    assert worker.metrics().value("penstock_clock_skew_seconds") == pytest.approx(3600, abs=LIMIT)
    producer.put("key", b"body", priority="critical")
    # The consumer takes the wake-up and then finds that it may not claim.
    wait_until(lambda: not queue.client.llen(queue.prefix + "wake"), LIMIT, "the consumer was awake")
    assert (sink.requests, sum(queue.stats().ready.values())) == ([], 1)
    assert len(worker.events("clock_skewed")) == 1
    set_clock(tmp_path, 0.0)
    wait_until_drained(queue)
    assert (BUCKET, "key") in sink.objects
    wait_until(lambda: worker.get("/readyz")[0] == 200, LIMIT, "it is ready again")
    assert len(worker.events("clock_right")) == 1
