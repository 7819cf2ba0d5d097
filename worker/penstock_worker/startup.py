"""What must hold for a worker to start: tried by a worker itself, and by ``penstock worker --check``."""

from __future__ import annotations

from penstock.errors import InvalidSetting
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import Store, open_store

REDIS_SECONDS = 5.0
"""Time limit of a call to Redis; above the second that a worker's blocking call takes."""


def make_store(settings: WorkerSettings) -> Store:
    """The engine that the settings name; sends nothing. Raises InvalidSetting."""
    try:
        return open_store(settings.s3_engine, settings.store_config())
    except ValueError as error:
        raise InvalidSetting(f"the S3 settings (PENSTOCK_S3_…, AWS_…) make no client: {error}") from error


def check(settings: WorkerSettings) -> None:
    """Makes an S3 client and asks Redis for the queue, whose layout must be one that we know.

    Raises:
        InvalidSetting: the S3 settings make no client, or the URL of Redis cannot be read.
        redis.exceptions.RedisError: no answer, or not the right one.
    """
    make_store(settings).close()
    clients = Clients(settings.redis_url, REDIS_SECONDS, settings.queue)
    try:
        ShardedQueue(clients, settings.queue).stats()
    finally:
        clients.close()
