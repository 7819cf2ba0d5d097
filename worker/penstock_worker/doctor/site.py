"""What the checks look at: settings, one Redis, one bucket. What one has read, later ones need not ask for."""

from __future__ import annotations

import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import msgspec
import redis

from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.settings import WorkerSettings
from penstock_worker.startup import make_store
from penstock_worker.stores import Store

if TYPE_CHECKING:
    from penstock_worker.stores.boto import BotoStore
    from penstock_worker.stores.bucket import BucketAnswer

REDIS_SECONDS = 5.0
S3_SECONDS = 5.0
"""Time limits of one call. A worker's may be longer; a person waits for the doctor."""
PREFIX = "penstock-doctor/"


class SkippedError(Exception):
    """A check cannot be done here; the text says why."""


class Site:
    """Used by one check after the other, each on a thread of its own.

    Args:
        bucket: instead of the settings' one.
        use_s3: without, every check of S3 is skipped.
    """

    def __init__(
        self, settings: WorkerSettings, *, bucket: str | None = None, prefix: str = PREFIX, use_s3: bool = True
    ) -> None:
        self.settings = settings
        self.scratch_key = f"{prefix}{uuid.uuid4().hex[:16]}"
        self.stored: bytes | None = None
        """The scratch object's body once a check has put it."""
        self.tagged = False
        """Whether that was put with tags."""
        self.no_redis: str | None = None
        """Why the checks of Redis that follow are skipped. Set before the first one asks, taken back by its answer, so
        that they do not wait for what has hung once. `no_s3` likewise."""
        self.no_s3: str | None = None if use_s3 else "--no-s3"
        self.head: BucketAnswer | None = None
        self._bucket = bucket or settings.bucket
        self._info: dict[str, Any] | None = None
        if use_s3 and self._bucket is None:
            self.no_s3 = "no bucket: set PENSTOCK_BUCKET or give --bucket"

    def client(self) -> redis.Redis:
        if self.no_redis is not None:
            raise SkippedError(self.no_redis)
        return self._client

    def queue(self) -> ShardedQueue:
        """With as many shards as it has now."""
        self.client()
        queue = ShardedQueue(self._clients, self.settings.queue)
        queue.refresh()
        return queue

    def info(self) -> dict[str, Any]:
        """INFO, asked once."""
        client = self.client()
        if self._info is None:
            self._info = client.info()
        return self._info

    def bucket(self) -> str:
        if self.no_s3 is not None or self._bucket is None:
            raise SkippedError(self.no_s3 or "no bucket")
        return self._bucket

    @cached_property
    def _client(self) -> redis.Redis:
        return self._clients.of(0, 1)

    @cached_property
    def _clients(self) -> Clients:
        return Clients(self.settings.redis_url, REDIS_SECONDS, self.settings.queue)

    @cached_property
    def endpoint(self) -> str:
        """Where requests go, as boto3 has it: it reads AWS_ENDPOINT_URL_S3 and profiles too."""
        return self.boto.ask(lambda client: client.meta.endpoint_url)

    @cached_property
    def store(self) -> Store:
        """The engine that a worker with these settings uploads with."""
        return make_store(self._quick_settings)

    @cached_property
    def boto(self) -> BotoStore:
        store = make_store(msgspec.structs.replace(self._quick_settings, s3_engine="boto3"))
        return cast("BotoStore", store)

    @cached_property
    def _quick_settings(self) -> WorkerSettings:
        return msgspec.structs.replace(self.settings, request_timeout=min(self.settings.request_timeout, S3_SECONDS))
