"""Whether a Redis can give what producers are to ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_worker.demo.servers import RedisServer, all_redis_servers
from penstock_worker.doctor.base import Finding, broken, ok
from penstock_worker.doctor.redis_checks import durability
from penstock_worker.doctor.site import Site
from penstock_worker.settings import WorkerSettings


def finding(server: RedisServer, asked: str) -> Finding:
    return durability(Site(WorkerSettings(redis_url=server.url, durability=asked), use_s3=False))


@pytest.mark.parametrize("executable", all_redis_servers())
def test_a_durability_that_redis_cannot_give_is_broken(executable: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path, executable=executable, extra=("--appendonly", "no")) as server:
        assert finding(server, "memory") == ok("memory")
        none = "replicas:1, and 0 are connected: every call raises NotDurable"
        assert finding(server, "replicas:1") == broken(none, finding(server, "replicas:1").remedy)
        without_file = finding(server, "fsync")
    with RedisServer(tmp_path, executable=executable, appendfsync="always") as server:
        with_file = finding(server, "fsync")
    with RedisServer(tmp_path, executable=executable, appendfsync="no") as server:
        without_sync = finding(server, "fsync")
    if "no WAITAOF" in without_file.found:
        assert without_file == with_file == without_sync == broken(without_file.found, without_file.remedy)
    else:
        assert without_file == broken("fsync, and its appendonly is off: set appendonly yes", without_file.remedy)
        assert with_file == ok("fsync")
        assert without_sync == broken(without_sync.found, "set appendfsync always")
