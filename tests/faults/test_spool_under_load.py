"""Redis is away under load, comes back and goes again: hosts with spools accept all the time, and lose nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
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
from tests.support.proxy import Mode, Proxy
from tests.support.spool_host import ALL_HOSTS, SpoolHost
from tests.support.wait import wait_until

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
PROCESSES = 2
"""Of one host; the other has one."""
HOST = 100
"""Producers that a host may have."""
CLOCK_ERROR = 0.1
"""Seconds between two hosts' calls, at most: 0.2 ms for each second of waiting, and the round trip under load."""
SETTLED = 3.0
"""Seconds after an outage in which a lost call may yet be taken: three of the producers' time limits, and some."""
MANY_ATTEMPTS = 100
SPOOLED = 50
"""Writes of each process in each outage, at least."""


@pytest.fixture
def redis_server(tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    """One for each test, that has every answered write on disk."""
    with RedisServer(tmp_path / "redis", appendfsync="always", executable=redis_executable) as server:
        yield server


class Hosts:
    """Several, each with a spool of its own."""

    def __init__(self, hosts: Sequence[SpoolHost]) -> None:
        self.hosts = hosts

    def wait_for_more(self, *, spooled: int = 0, direct: int = 0) -> None:
        for host in self.hosts:
            host.wait_for_more(spooled=spooled, direct=direct)

    def wait_out(self, seconds: float) -> None:
        """Returns when so many seconds are over, and all processes have spooled."""
        end = time.monotonic() + seconds
        self.wait_for_more(spooled=SPOOLED)

        def over() -> bool:
            for host in self.hosts:
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
    # The last is how far the order of hosts is told. A call that a Redis which stood takes at last has the number of
    # that moment: another host, which knows nothing of it, may have spooled a newer write of the key in the meantime.
    outages: list[tuple[Callable[[], None], Callable[[], None], float]] = [
        (redis_server.kill, redis_server.start, CLOCK_ERROR),
        (redis_server.freeze, redis_server.thaw, outage_seconds + SETTLED),
    ]
    with ExitStack() as held:
        held.enter_context(store.broken(refusal(500, "InternalError", rate=0.03), reset_after(rate=0.02)))
        proxy = held.enter_context(Proxy(redis_server.port))
        hosts = Hosts(
            [
                held.enter_context(
                    SpoolHost(url, queue_name, tmp_path / name, oracle.ledger, count, first=number * HOST)
                )
                for number, (url, name, count) in enumerate(
                    [(redis_server.url, "one", PROCESSES), (proxy.url, "cut-off-longer", 1)]
                )
            ]
        )
        for away, back, vague in outages:
            hosts.wait_for_more(direct=SPOOLED)
            for host in hosts.hosts:
                host.be_vague(vague)
            away()
            hosts.wait_out(outage_seconds)
            proxy.mode = Mode.REFUSE
            back()
            began = time.monotonic()
            hosts.hosts[0].wait_for_more(direct=SPOOLED)
            proxy.mode = Mode.PASS  # what it replays now is older than what the other host wrote in the meantime
            hosts.wait_for_more(direct=SPOOLED)
            print(f"writes go to Redis again {time.monotonic() - began:.1f} s after it is back")
        for host in hosts.hosts:
            host.stop()
    replayed = superseded = 0
    for host in hosts.hosts:
        flush(redis_server.url, queue_name, host.spool)
        stats = spool_stats(str(host.spool), queue_name)
        assert (stats.writes, stats.aside) == (0, [])
        assert stats.replayed
        replayed, superseded = replayed + stats.replayed, superseded + stats.superseded
    print(f"{oracle.ledger.spooled} of {oracle.ledger.count} writes spooled, {superseded} of them superseded")
    assert replayed == oracle.ledger.spooled >= len(outages) * (PROCESSES + 1) * SPOOLED
    oracle.check()
    assert oracle.ledger.doubts == 0
    shared = [key for _, key in oracle.ledger.entries() if key.startswith(f"{ALL_HOSTS}/")]
    assert shared, "keys that both hosts write to"
    seen = Seen(redis_server.url, queue_name)
    # Superseded may be what was spooled while another producer's call for the same key lay before a Redis that stood,
    # and what another host has replayed a newer write of.
    assert seen.accepted() + superseded == oracle.ledger.count, "each counts once"
    seen.close()
