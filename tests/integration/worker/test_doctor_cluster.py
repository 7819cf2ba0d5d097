"""The doctor's look at a queue whose shards lie on several servers."""

from __future__ import annotations

from pathlib import Path

from penstock_worker.doctor.base import Status
from penstock_worker.doctor.redis_checks import memory
from penstock_worker.doctor.site import Site
from penstock_worker.settings import WorkerSettings
from tests.support.cluster_servers import ClusterServers
from tests.support.shards import sharded

MIB = 2**20
ROOM = 300 * MIB


def finding(url: str, queue: str) -> Status:
    return memory(Site(WorkerSettings(redis_url=url, queue=queue), use_s3=False)).status


def test_memory_each_server_needs_room_for_its_own_shards_alone(
    tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    with (
        ClusterServers(tmp_path, executable=redis_executable) as cluster,
        sharded(cluster.url, queue_name, 3) as queue,
    ):
        queue.configure(items=3000, size=3 * 200 * MIB, dead_size=3 * MIB)
        for shard in queue.shards:
            shard.client.config_set("maxmemory", ROOM)
        assert finding(cluster.url, queue_name) is Status.OK
        queue.shards[2].client.config_set("maxmemory", 100 * MIB)
        assert finding(cluster.url, queue_name) is Status.WARNING
