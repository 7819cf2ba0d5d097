"""A queue of several shards on a cluster: they lie on several masters, and workers serve and are woken on each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import Producer
from tests.support.cluster_servers import ClusterServers
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, environment, run_command

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
SHARDS = "5"
"""No gap between five of them is as wide as a third of the slots, so that each master has at least one."""
WRITES = 60


@pytest.fixture
def cluster(tmp_path: Path, redis_executable: str | None) -> Iterator[ClusterServers]:
    with ClusterServers(tmp_path, executable=redis_executable) as servers:
        yield servers


def sleeps_everywhere(cluster: ClusterServers) -> bool:
    return all(node.client.info("clients")["blocked_clients"] for node in cluster.masters)


def test_shards_lie_on_several_masters_and_workers_serve_and_are_woken_on_each(
    cluster: ClusterServers, queue_name: str, store: FaultS3
) -> None:
    env = environment(cluster.url, store.endpoint_url, queue_name, {"bucket": BUCKET})
    done = run_command("queue", "configure", "--shards", SHARDS, env=env)
    assert done.returncode == 0, done.stderr
    with (
        Fleet(cluster.url, store.endpoint_url, queue_name, batch_max_wait=0) as fleet,
        Producer(cluster.url, queue=queue_name, bucket=BUCKET, timeout=LIMIT) as producer,
    ):
        fleet.start()
        wait_until(lambda: sleeps_everywhere(cluster), LIMIT, "it sleeps on each master")
        receipts = [producer.put(f"{number}", b"body") for number in range(WRITES)]
        for receipt in receipts:
            assert producer.wait(receipt, LIMIT).outcome == "stored"
        calls = [node.client.info("commandstats")["cmdstat_evalsha"]["calls"] for node in cluster.masters]
    assert len(store.objects) == WRITES
    assert all(calls), calls
