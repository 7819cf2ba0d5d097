"""The worker's settings: names, defaults and limits. ``penstock.settings`` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.errors import InvalidSetting
from penstock.queue.client import GUARD_SECONDS
from penstock.settings import ByteSize, ProducerSettings, Seconds, about, load_settings
from penstock_worker.stores import Addressing, Engine, StoreConfig

Count = Annotated[int, Meta(ge=1, le=1000)]


class WorkerSettings(ProducerSettings, frozen=True, kw_only=True):
    """Everything a worker and the commands take. Times in seconds, sizes in bytes."""

    allowed_buckets: Annotated[
        str | None,
        about("comma-separated; a write to another bucket waits and is logged as an environment fault", unset="any"),
    ] = None
    s3_endpoint_url: Annotated[str | None, about("another S3: MinIO, Ceph, R2 …", unset="AWS")] = None
    s3_region: Annotated[str | None, about("the bucket's region", unset="boto3's")] = None
    s3_addressing: Annotated[Addressing, about("whether the bucket is in the path or in the host's name")] = "auto"
    s3_engine: Annotated[Engine, about("obstore is fast; keys that it would change go through boto3 by themselves")] = (
        "obstore"
    )
    s3_sse: Annotated[
        Literal["AES256", "aws:kms", "aws:kms:dsse"] | None, about("encryption at rest", unset="the bucket's")
    ] = None
    s3_kms_key_id: Annotated[str | None, about("the key, with `aws:kms` or `aws:kms:dsse`", unset="AWS's own")] = None
    s3_expected_owner: Annotated[
        Annotated[str, Meta(pattern=r"^\d{12}$")] | None,
        about("the account that must own the bucket: 12 digits", unset="not checked"),
    ] = None
    batch_max_items: Annotated[Count, about("a batch leaves when it has so many writes, …")] = 50
    batch_max_bytes: Annotated[ByteSize, about("… or so many bytes, …")] = ByteSize(8 * 1024**2)
    batch_max_wait: Annotated[
        float, Meta(ge=0, le=3600), about("… or its oldest write has waited so long (critical ones never wait)")
    ] = 1.5
    upload_concurrency: Annotated[Count, about("requests to a bucket at once, a process, to begin with; …")] = 12
    upload_concurrency_max: Annotated[Count, about("… and while the store bears more: to a bucket, and to all")] = 128
    memory_budget: Annotated[ByteSize, about("bytes of bodies a process holds at most; one batch at least")] = ByteSize(
        64 * 1024**2
    )
    max_attempts: Annotated[int, Meta(ge=1, le=200), about("then a write is dead-lettered")] = 8
    lease_seconds: Annotated[float, Meta(ge=1, le=600), about("how long a dead worker's writes stay claimed")] = 15.0
    request_timeout: Annotated[float, Meta(ge=0.1, le=600), about("a request's time limit is this …")] = 5.0
    min_bytes_per_second: Annotated[ByteSize, about("… and what its bytes take at this rate")] = ByteSize(1024**2)
    guard_seconds: Annotated[
        float,
        Meta(ge=1, le=86400),
        about("how long after a lost request its object is checked; less than 960 is for tests: see reliability.md"),
    ] = GUARD_SECONDS
    stop_timeout: Annotated[Seconds, about("what a graceful stop takes at most")] = 25.0
    sidecar_host: Annotated[str, about("the address that /metrics and the health pages are bound to")] = "127.0.0.1"
    sidecar_port: Annotated[
        int, Meta(ge=0, le=65535), about("their port; `0` picks a free one, which the log names")
    ] = 9191
    log_level: Annotated[Literal["debug", "info", "warning", "error"], about("the least that is logged")] = "info"
    log_format: Annotated[Literal["json", "console"], about("one JSON object a line, or for people")] = "json"

    def allows(self, bucket: str) -> bool:
        """Whether this worker may write to ``bucket``; without a list, to any."""
        allowed = self.buckets()
        return allowed is None or bucket in allowed

    def buckets(self) -> frozenset[str] | None:
        if self.allowed_buckets is None:
            return None
        return frozenset(name.strip() for name in self.allowed_buckets.split(",") if name.strip())

    def store_config(self) -> StoreConfig:
        return StoreConfig(
            endpoint_url=self.s3_endpoint_url,
            region=self.s3_region,
            addressing=self.s3_addressing,
            sse=self.s3_sse,
            kms_key_id=self.s3_kms_key_id,
            expected_owner=self.s3_expected_owner,
            request_timeout=self.request_timeout,
            min_bytes_per_second=self.min_bytes_per_second,
            concurrency=self.upload_concurrency_max,
        )


def read_settings(environ: Mapping[str, str] | None = None) -> WorkerSettings:
    """The worker's settings, every one checked.

    Raises:
        InvalidSetting: an unknown name, a bad value, or values that contradict each other; the message names it.
    """
    settings = load_settings(WorkerSettings, environ, strict=True)
    if settings.batch_max_bytes < 1:
        raise InvalidSetting("PENSTOCK_BATCH_MAX_BYTES must be at least 1")
    if settings.min_bytes_per_second < 1:
        raise InvalidSetting("PENSTOCK_MIN_BYTES_PER_SECOND must be at least 1")
    if settings.memory_budget < settings.batch_max_bytes:
        raise InvalidSetting(
            "PENSTOCK_MEMORY_BUDGET must hold at least one batch: raise it to PENSTOCK_BATCH_MAX_BYTES or more"
        )
    if settings.upload_concurrency_max < settings.upload_concurrency:
        raise InvalidSetting(
            "PENSTOCK_UPLOAD_CONCURRENCY_MAX must not be below PENSTOCK_UPLOAD_CONCURRENCY: raise it, or lower that"
        )
    if settings.s3_kms_key_id and (settings.s3_sse is None or not settings.s3_sse.startswith("aws:kms")):
        raise InvalidSetting("PENSTOCK_S3_KMS_KEY_ID needs PENSTOCK_S3_SSE=aws:kms")
    return settings


def setting_names() -> list[str]:
    return [field.name for field in msgspec.structs.fields(WorkerSettings)]
