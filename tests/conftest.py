"""Fixtures for all tests: one real Redis and one S3 over HTTP a session, fresh names a test.

Imports: pytest and mypy both take the repository's root as an import root (``pythonpath`` and ``mypy_path``
in pyproject.toml), so a helper is ``from tests.support.wait import wait_until`` everywhere. Test folders need
no ``__init__.py``; only ``tests/support`` is a package.

``PENSTOCK_TEST_REDIS_SERVER=/path/to/redis-server`` runs the suite on that server instead of the first one
found (see `penstock_worker.demo.servers.find_redis_server`).
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from penstock_worker.demo.servers import RedisServer, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


# A shell that runs the suite in the background has it ignore Ctrl-C, and processes inherit that: those that the tests
# stop by Ctrl-C would go on.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_executable() -> str | None:
    """For tests that start a Redis of their own: ``RedisServer(tmp_path, executable=redis_executable)``."""
    return os.environ.get("PENSTOCK_TEST_REDIS_SERVER") or None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None) -> Iterator[RedisServer]:
    """One server for the session. Who kills, freezes or configures a server starts one of their own."""
    with RedisServer(tmp_path_factory.mktemp("redis"), executable=redis_executable) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def queue_name() -> str:
    """A queue nobody else uses: tests share a Redis, and none of them flushes it."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One moto server for the session; its buckets are told apart by name, see `bucket`."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(s3_server: S3Server) -> S3Client:
    return s3_server.client()


@pytest.fixture
def bucket(s3: S3Client) -> str:
    """The name of a new, empty bucket."""
    name = f"test-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name)
    return name
