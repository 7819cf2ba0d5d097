"""What is done with a batch's writes before S3 hears of them: read, verify, compress."""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict

import structlog

from penstock.queue.names import PRIORITIES, split_name
from penstock.queue.record import Record
from penstock.queue.results import Claimed
from penstock_worker import compress
from penstock_worker.held import HeldClaim
from penstock_worker.outcomes import Outcomes, Parts
from penstock_worker.stores import ErrorClass, PutRequest, StoreFault
from penstock_worker.stores.faults import BUCKET_NOT_ALLOWED, CHECKSUM_MISMATCH

log = structlog.get_logger()

BODY_MISSING = "BodyMissing"
BAD_RECORD = "BadRecord"

CRITICAL = PRIORITIES.index("critical")

SMALL_BODY = 8 * 1024
ENCODED_AHEAD = 512 * 1024
"""A batch's small bodies, up to so many bytes in all, are compressed before their turns, together by one thread: a
thread that has waited for S3 shall have little to do before its next request. Larger ones are compressed in their
turns, on all CPUs."""


class Put:
    """A put of a batch. Its request is made ahead of its turn or, of a large body, in it; see `encode`."""

    __slots__ = ("body", "body_bytes", "bucket", "key", "record", "request", "write")

    def __init__(self, write: Claimed, bucket: str, key: str, record: Record, body: memoryview) -> None:
        self.write = write
        self.bucket = bucket
        self.key = key
        self.record = record
        self.body = body
        self.body_bytes = len(body)
        self.request: PutRequest | None = None


def prepare(claim: HeldClaim, parts: Parts, outcomes: Outcomes) -> tuple[list[Put], dict[str, list[Claimed]]]:
    """Reads a claim's records and fetches its large bodies: its puts, and its deletes by bucket.

    What cannot be sent is settled without S3.
    """
    puts: list[Put] = []
    deletes: dict[str, list[Claimed]] = defaultdict(list)
    large: list[tuple[Claimed, str, str, Record]] = []
    for write in claim.batch.writes:
        bucket, key = split_name(write.name)
        if not parts.settings.allows(bucket):
            text = "the bucket is not in PENSTOCK_ALLOWED_BUCKETS"
            outcomes.failed(write, StoreFault(ErrorClass.ENVIRONMENT, BUCKET_NOT_ALLOWED, None, text))
            continue
        if write.is_delete:
            deletes[bucket].append(write)
            continue
        try:
            record = write.record()
        except (ValueError, IndexError, struct.error) as error:
            outcomes.failed(write, StoreFault(ErrorClass.PERMANENT, BAD_RECORD, None, f"unreadable record: {error}"))
            continue
        if record.body is None:
            large.append((write, bucket, key, record))
        else:
            puts.append(Put(write, bucket, key, record, record.body))
    puts = _encode_ahead(puts, outcomes)
    if large:
        records = [record for _, _, _, record in large]
        bodies = parts.shards[claim.shard].fetch_blobs(
            [record.blob_id or "" for record in records], [record.body_size for record in records]
        )
        for (write, bucket, key, record), body in zip(large, bodies, strict=True):
            if body is None:
                # A newer write took the name, and the queue answers "superseded"; or the body is really lost.
                text = "the body is not in Redis"
                outcomes.failed(write, StoreFault(ErrorClass.PERMANENT, BODY_MISSING, None, text))
            else:
                puts.append(Put(write, bucket, key, record, memoryview(body)))
    return puts, deletes


def encode(put: Put, outcomes: Outcomes) -> PutRequest | None:
    """Verifies and compresses a put's body; None when it is not what it was, which is settled without S3."""
    if not _is_whole(put, outcomes):
        return None
    header = put.record.header
    urgent = put.write.priority == CRITICAL
    return _request(put, compress.encode(put.body, header.content_type, header.compression, urgent=urgent))


def _encode_ahead(puts: list[Put], outcomes: Outcomes) -> list[Put]:
    """Those that are whole, small ones encoded; of larger ones it is not known yet."""
    left = ENCODED_AHEAD
    ahead, puts_left = [], []
    for put in puts:
        if put.body_bytes > SMALL_BODY or put.body_bytes > left:
            puts_left.append(put)
        elif _is_whole(put, outcomes):
            left -= put.body_bytes
            ahead.append(put)
    headers = [put.record.header for put in ahead]
    bodies = [(put.body, header.content_type, header.compression) for put, header in zip(ahead, headers, strict=True)]
    try:
        for put, encoded in zip(ahead, compress.encode_many(bodies), strict=True):
            put.request = _request(put, encoded)
    except Exception as error:  # noqa: BLE001 - who is left meets it again in its turn, where it is counted
        log.warning("encoding_ahead_failed", error=repr(error))
    return ahead + puts_left


def _is_whole(put: Put, outcomes: Outcomes) -> bool:
    if hashlib.sha256(put.body).digest() == put.record.sha256:
        return True
    text = "the body changed in the queue"
    outcomes.failed(put.write, StoreFault(ErrorClass.PERMANENT, CHECKSUM_MISMATCH, None, text))
    return False


def _request(put: Put, encoded: compress.Encoded) -> PutRequest:
    record = put.record
    header = record.header
    return PutRequest(
        bucket=put.bucket,
        key=put.key,
        body=encoded.body,
        content_type=header.content_type,
        cache_control=header.cache_control,
        content_disposition=header.content_disposition,
        content_encoding=encoded.encoding,
        storage_class=header.storage_class,
        tags=header.tags,
        metadata={"penstock-seq": str(put.write.seq), "penstock-sha256": record.sha256.hex(), **header.metadata},
    )
