"""Fixtures for tests with real worker processes that are killed, frozen or cut off, and a store that fails.

A test names its faults, and the `Oracle` says at the end whether each accepted write became what it had to.
``PENSTOCK_FAULT_SECONDS=20`` makes the outages of all tests that long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.demo.servers import RedisServer
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.worker import BUCKET

REDIS_SECONDS = 30.0
OUTAGE_SECONDS = 3.0


@pytest.fixture
def outage_seconds() -> float:
    """How long a store stays broken."""
    return float(os.environ.get("PENSTOCK_FAULT_SECONDS", OUTAGE_SECONDS))


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None) -> Iterator[RedisServer]:
    """One with an append-only file; who kills it makes one that syncs each write."""
    with RedisServer(tmp_path_factory.mktemp("redis"), executable=redis_executable) as server:
        yield server


@pytest.fixture
def store() -> Iterator[FaultS3]:
    with FaultS3() as server:
        yield server


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[Queue]:
    client = open_client(redis_url, REDIS_SECONDS, queue_name)
    yield Queue(client, queue_name)
    client.close()


@pytest.fixture
def producer(redis_url: str, queue_name: str) -> Iterator[Producer]:
    with Producer(redis_url, queue=queue_name, bucket=BUCKET, timeout=REDIS_SECONDS) as one:
        yield one


@pytest.fixture
def oracle(store: FaultS3, queue: Queue) -> Oracle:
    return Oracle(store, queue)


@pytest.fixture
def fleet(redis_url: str, queue_name: str, store: FaultS3) -> Iterator[Fleet]:
    with Fleet(redis_url, store.endpoint_url, queue_name) as one:
        yield one
