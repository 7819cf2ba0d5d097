"""Fixtures for tests against several servers of Redis that belong together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster_servers import ClusterServers
from tests.support.sentinel_servers import SentinelServers


@pytest.fixture
def sentinel_servers(
    tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None
) -> Iterator[SentinelServers]:
    """A master, a replica and three Sentinels of a test's own."""
    with SentinelServers(tmp_path_factory.mktemp("sentinel"), executable=redis_executable) as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None) -> Iterator[ClusterServers]:
    """Three masters without replicas; who kills one starts a cluster of their own."""
    with ClusterServers(tmp_path_factory.mktemp("cluster"), executable=redis_executable) as servers:
        yield servers
