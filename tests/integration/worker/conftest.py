"""Fixtures for tests with real worker processes: an S3 in memory, a queue, and workers that always end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from tests.support.memory_s3 import MemoryS3
from tests.support.worker import BUCKET, WorkerProcess, environment

REDIS_SECONDS = 30.0


@pytest.fixture
def sink() -> Iterator[MemoryS3]:
    with MemoryS3() as server:
        yield server


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[Queue]:
    client = open_client(redis_url, REDIS_SECONDS, queue_name)
    yield Queue(client, queue_name)
    client.close()


@pytest.fixture
def env(redis_url: str, queue_name: str, sink: MemoryS3) -> Mapping[str, str]:
    return environment(redis_url, sink.endpoint_url, queue_name, {"bucket": BUCKET})


@pytest.fixture
def producer(redis_url: str, queue_name: str) -> Iterator[Producer]:
    with Producer(redis_url, queue=queue_name, bucket=BUCKET, timeout=REDIS_SECONDS) as one:
        yield one


@pytest.fixture
def start_worker(redis_url: str, queue_name: str, sink: MemoryS3) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker of the test's queue and sink; ``redis_url`` and ``endpoint_url`` may name others."""
    with ExitStack() as stack:

        def start(**settings: object) -> WorkerProcess:
            to = settings.pop("redis_url", redis_url), settings.pop("endpoint_url", sink.endpoint_url)
            return stack.enter_context(WorkerProcess(str(to[0]), str(to[1]), queue_name, **settings))

        yield start
