"""Writes as a producer sends them."""

from __future__ import annotations

from penstock import Write
from penstock.packing import pack
from penstock.queue.enqueue import Prepared
from penstock.write import check_fields


def prepare_put(write: Write, bucket: str, priority: str, max_body_bytes: int, blob_id: bytes) -> Prepared:
    """Validates and packs a put. Raises InvalidWrite."""
    return pack(
        check_fields(
            write.key, write.body,
            (write.content_type, write.cache_control, write.content_disposition, write.storage_class),
            write.tags, write.metadata, write.tenant, write.compression, write.traceparent,
            bucket, priority, max_body_bytes, lambda: blob_id,
        )
    )  # fmt: skip
