"""Three shards on the three masters of a cluster: producers, a worker and the commands reach each where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from penstock import Producer, Write
from penstock.queue.names import key_prefix, shard_of
from penstock.queue.sharded import Clients, ShardedQueue
from tests.support.cluster_servers import ClusterServers
from tests.support.commands import printed
from tests.support.memory_s3 import MemoryS3
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, environment, wait_until_drained

pytestmark = pytest.mark.integration

SHARDS = 3
HANG = 30.0
"""Seconds after which something hangs."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None) -> Iterator[ClusterServers]:
    with ClusterServers(tmp_path_factory.mktemp("cluster"), executable=redis_executable) as servers:
        yield servers


@pytest.fixture
def queue_name() -> str:
    """Always the same, because where its shards lie follows from it."""
    return "default"


def test_each_master_has_a_shard_and_a_worker_is_woken_on_each(
    cluster: ClusterServers, sink: MemoryS3, start_worker: Callable[..., WorkerProcess], queue_name: str
) -> None:
    env = environment(cluster.url, sink.endpoint_url, queue_name, {"bucket": BUCKET})
    assert printed("queue", "configure", "--shards", str(SHARDS), env=env)["shards"] == SHARDS
    clients = Clients(cluster.url, HANG, queue_name)
    queue = ShardedQueue(clients, queue_name)
    queue.refresh()
    worker = start_worker(redis_url=cluster.url)
    with Producer(cluster.url, queue=queue_name, bucket=BUCKET, timeout=HANG) as producer:
        keys = [f"key-{number}" for number in range(60)]
        receipts = producer.put_many([Write(key=key, body=b"body") for key in keys])
        owners = set()
        for shard in range(SHARDS):
            prefix = key_prefix(queue_name, shard, SHARDS)
            holding = [node for node in cluster.masters if node.client.keys(prefix.replace("{", "[{]") + "meta")]
            assert len(holding) == 1
            owners.add(holding[0].port)
        assert len(owners) == SHARDS, "a master has no shard"
        wait_until_drained(queue)
        assert {producer.wait(receipt, HANG).outcome for receipt in receipts} == {"stored"}
        for shard in range(SHARDS):  # an idle worker blocks on each master, and claims every five seconds without it
            key = next(key for key in keys if shard_of(f"{BUCKET}/{key}".encode(), SHARDS) == shard)
            receipt = producer.put(key, b"again", priority="critical")
            assert producer.wait(receipt, HANG).outcome == "stored"
            assert sink.objects[BUCKET, key].body == b"again"
    assert printed("queue", "stats", env=env)["shards"] == SHARDS
    assert worker.told().metrics().value("penstock_accepted_writes_total") == 63
    printed("queue", "configure", "--shards", "2", env=env)
    wait_until(lambda: worker.events("shards_changed"), HANG, "the worker has noticed")
    assert worker.wait() == 1
    clients.close()
