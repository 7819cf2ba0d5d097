"""A slot of a cluster moves to another master, key by key or at once, while producers and workers use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock.queue.client import Queue
from penstock_worker.demo.servers import all_redis_servers
from tests.support.cluster_servers import ClusterServers, Node
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.queue_layout import check_layout
from tests.support.wait import wait_until
from tests.support.writers import Writers

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
MOVES = 2
STEP = 8
"""Keys of a slot that move at once. In between, everybody tries."""
REFUSALS = 3
"""So many, between two steps."""


@pytest.fixture
def cluster(tmp_path: Path, redis_executable: str | None) -> Iterator[ClusterServers]:
    # The wheel's Valkey first, which knows both ways.
    with ClusterServers(tmp_path, executable=redis_executable or all_redis_servers()[0]) as servers:
        yield servers


@pytest.fixture
def redis_url(cluster: ClusterServers) -> str:
    return cluster.url


def refusals(node: Node) -> int:
    """Script calls that did not begin."""
    return int(calls_of(node)["rejected_calls"])


def has_refused(node: Node, calls: int) -> bool:
    return refusals(node) >= calls


def calls_of(node: Node) -> dict[str, Any]:
    stats: dict[str, dict[str, Any]] = node.client.info("commandstats")
    return stats.get("cmdstat_evalsha", {"rejected_calls": 0, "failed_calls": 0})


def failures(node: Node) -> int:
    """Script calls that ended with an error after they had begun; one of a script that is not there has not."""
    errors: dict[str, dict[str, Any]] = node.client.info("errorstats")
    return int(calls_of(node)["failed_calls"]) - int(errors.get("errorstat_NOSCRIPT", {"count": 0})["count"])


def wait_for_more(oracle: Oracle, writes: int) -> None:
    wanted = oracle.ledger.count + writes
    wait_until(lambda: oracle.ledger.count >= wanted, LIMIT, "the load goes on")


def next_master(cluster: ClusterServers, source: Node) -> Node:
    return cluster.masters[(cluster.masters.index(source) + 1) % len(cluster.masters)]


def move_key_by_key(cluster: ClusterServers, slot: int) -> None:
    source = cluster.owner(slot)
    target = next_master(cluster, source)
    cluster.begin_move(slot, target)
    moved = 1
    while moved:
        wanted = refusals(source) + REFUSALS
        wait_until(partial(has_refused, source, wanted), LIMIT, "everybody tries, and is refused")
        moved = cluster.move_keys(slot, source, target, STEP)
    cluster.end_move(slot, source, target)


def move_at_once(cluster: ClusterServers, slot: int) -> None:
    source = cluster.owner(slot)
    try:
        cluster.move_at_once(slot, next_master(cluster, source))
    except redis.exceptions.ResponseError as error:
        if "unknown subcommand" not in str(error).lower():
            raise
        pytest.skip("only Valkey 9 moves a slot at once")


@pytest.mark.parametrize("move", [move_key_by_key, move_at_once])
def test_a_slot_moved_under_load_loses_nothing_and_no_script_stops_half_way(
    move: Callable[[ClusterServers, int], None],
    cluster: ClusterServers,
    queue_name: str,
    queue: Queue,
    oracle: Oracle,
    fleet: Fleet,
) -> None:
    fleet.start_some(2)
    with Writers(cluster.url, queue_name, oracle.ledger, producers=3):
        for _ in range(MOVES):
            wait_for_more(oracle, 100)
            move(cluster, cluster.slot_of(queue_name))
        wait_for_more(oracle, 100)
    summary = oracle.check()
    assert summary.accepted > MOVES * 100
    fleet.stop()
    assert [failures(node) for node in cluster.masters] == [0, 0, 0]
    check_layout(queue.client, queue.prefix)
