"""The parts of a worker over a real queue, each put together as the daemon does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.connection import open_client

REDIS_SECONDS = 30.0


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[Queue]:
    client = open_client(redis_url, REDIS_SECONDS)
    yield Queue(client, queue_name)
    client.close()


@pytest.fixture
def producer(redis_url: str, queue_name: str) -> Iterator[Producer]:
    with Producer(redis_url, queue=queue_name, bucket="the-bucket", timeout=REDIS_SECONDS) as one:
        yield one
