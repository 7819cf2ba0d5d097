from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from penstock_worker.demo.servers import RedisServer, all_redis_servers
from tests.support.queue import ShiftedQueue, open_queue


def _servers() -> list[str]:
    """The scripts must run on every server there is: the wheel's Valkey, and what is on PATH (the floor is 7.0)."""
    chosen = os.environ.get("PENSTOCK_TEST_REDIS_SERVER")
    return [chosen] if chosen else all_redis_servers()


@pytest.fixture(scope="session", params=_servers(), ids=os.path.basename)
def redis_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), executable=request.param) as server:
        yield server


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[ShiftedQueue]:
    """A queue of the test's own; when the test ends, its layout in Redis must be whole."""
    with open_queue(redis_url, queue_name) as queue:
        yield queue
