"""Redis is away under load, comes back and goes again: a host with a spool accepts all the time, and loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.calls import Options
from penstock.spool.duty import replay_all
from penstock.spool.look import spool_stats
from penstock_worker.demo.servers import RedisServer
from tests.support.fault_s3 import FaultS3, refusal, reset_after
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.producers import Seen
from tests.support.spool_host import SpoolHost
from tests.support.wait import wait_until

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
PROCESSES = 3
MANY_ATTEMPTS = 100
SPOOLED = 50
"""Writes of each process in each outage, at least."""


@pytest.fixture
def redis_server(tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    """One for each test, that has every answered write on disk."""
    with RedisServer(tmp_path / "redis", appendfsync="always", executable=redis_executable) as server:
        yield server


def wait_out(host: SpoolHost, seconds: float) -> None:
    """Returns when so many seconds are over, and all processes have spooled."""
    end = time.monotonic() + seconds
    host.wait_for_more(spooled=SPOOLED)

    def over() -> bool:
        host.read()
        return time.monotonic() >= end

    wait_until(over, seconds + LIMIT, "the outage is over")


def flush(url: str, queue: str, directory: Path) -> None:
    """As `penstock spool flush`: what the processes left behind."""
    options = Options.make(url, queue, None, LIMIT, 1 << 24, None, "memory", str(directory))
    wait_until(lambda: replay_all(options, str(directory), threading.Event()), LIMIT, "what was left is replayed")


def test_redis_away_under_load_and_back_and_away_again_loses_nothing_and_turns_nothing_round(
    redis_server: RedisServer,
    queue_name: str,
    tmp_path: Path,
    outage_seconds: float,
    store: FaultS3,
    oracle: Oracle,
    fleet: Fleet,
) -> None:
    fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
    outages: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (redis_server.kill, redis_server.start),
        (redis_server.freeze, redis_server.thaw),  # calls are lost that it takes later
    ]
    spool = tmp_path / "host" / "spool"
    with (
        store.broken(refusal(500, "InternalError", rate=0.03), reset_after(rate=0.02)),
        SpoolHost(redis_server.url, queue_name, tmp_path / "host", oracle.ledger, PROCESSES) as host,
    ):
        for away, back in outages:
            host.wait_for_more(direct=SPOOLED)
            away()
            wait_out(host, outage_seconds)
            back()
            began = time.monotonic()
            host.wait_for_more(direct=SPOOLED)
            print(f"writes go to Redis again {time.monotonic() - began:.1f} s after it is back")
        host.stop()
    flush(redis_server.url, queue_name, spool)
    stats = spool_stats(str(spool), queue_name)
    print(f"{oracle.ledger.spooled} of {oracle.ledger.count} writes spooled, {stats.superseded} of them superseded")
    assert (stats.writes, stats.aside) == (0, [])
    assert stats.replayed == oracle.ledger.spooled >= len(outages) * PROCESSES * SPOOLED
    oracle.check()
    assert oracle.ledger.doubts == 0
    seen = Seen(redis_server.url, queue_name)
    # Superseded may be what was spooled while another producer's call for the same key lay before a Redis that stood.
    assert seen.accepted() + stats.superseded == oracle.ledger.count, "each counts once"
    seen.close()
