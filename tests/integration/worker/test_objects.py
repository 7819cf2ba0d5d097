"""What an object looks like in S3, with both engines, against moto: headers, tags, sizes, names; and 10,000 of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock_worker.compress import decode
from penstock_worker.demo.servers import S3Server
from tests.support.memory_s3 import MemoryS3
from tests.support.worker import BUCKET, WorkerProcess, wait_until_drained

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
PRIORITIES = ("critical", "high", "normal", "low")


@pytest.mark.parametrize("engine", ["obstore", "boto3"])
def test_an_object_has_all_that_was_asked_for(
    engine: str,
    producer: Producer,
    queue: Queue,
    s3: S3Client,
    s3_server: S3Server,
    bucket: str,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    body = b'{"a": "report"}' * 100
    receipt = producer.put(
        "reports/42.json",
        body,
        bucket=bucket,
        priority="critical",
        content_type="application/json",
        cache_control="max-age=60",
        content_disposition='attachment; filename="42.json"',
        storage_class="STANDARD_IA",
        tags={"ttl_days": "7", "a b": "c/d=e"},
        metadata={"source": "web"},
        tenant="somebody",
    )
    producer.put("gone", b"body", bucket=bucket)
    odd_keys = ["/lead", "trail/", "a//b", "ü ñ/%41+&?#.txt"]
    producer.put_many([Write(key=key, body=key.encode(), bucket=bucket) for key in odd_keys])
    worker = start_worker(endpoint_url=s3_server.endpoint_url, s3_engine=engine)
    wait_until_drained(queue)
    assert worker.events("worker_started")[0]["engine"] == engine

    found = s3.get_object(Bucket=bucket, Key="reports/42.json")
    assert decode(found["Body"].read(), found["ContentEncoding"]) == body
    assert found["ContentEncoding"] == "zstd"
    assert found["ContentType"] == "application/json"
    assert found["CacheControl"] == "max-age=60"
    assert found["ContentDisposition"] == 'attachment; filename="42.json"'
    assert found["StorageClass"] == "STANDARD_IA"
    assert found["Metadata"] == {
        "source": "web",
        "penstock-seq": str(receipt.seq),
        "penstock-sha256": hashlib.sha256(body).hexdigest(),
    }
    tags = s3.get_object_tagging(Bucket=bucket, Key="reports/42.json")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"ttl_days": "7", "a b": "c/d=e"}
    for key in odd_keys:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()

    producer.delete("gone", bucket=bucket)
    wait_until_drained(queue)
    listed = {entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {"reports/42.json", *odd_keys}


def mixed_writes(count: int, keys: int, seed: int) -> list[tuple[str, bytes | None]]:
    """Puts of many sizes and some deletes, of fewer keys than writes."""
    choice = random.Random(seed)
    writes: list[tuple[str, bytes | None]] = []
    for number in range(count):
        key = f"{choice.randrange(keys) % 7}/{choice.randrange(keys)}"
        size = choice.choice((0, 10, 300, 1000, 5000, 20_000)) if number % 500 else 100_000
        body = choice.randbytes(size // 2) + bytes(size - size // 2)
        writes.append((key, None if choice.random() < 0.1 else body))
    return writes


def send(producer: Producer, writes: list[tuple[str, bytes | None]], bucket: str) -> None:
    """In their order, in calls of many where no delete comes between."""
    choice = random.Random(7)
    group: list[Write] = []
    for key, body in writes:
        priority = choice.choice(PRIORITIES)
        if body is not None:
            group.append(Write(key=key, body=body, bucket=bucket, priority=priority, tenant=key[0]))
            continue
        producer.put_many(group)
        group = []
        producer.delete(key, bucket=bucket, priority=priority, tenant=key[0])
    producer.put_many(group)


@pytest.mark.slow
def test_10000_mixed_writes_leave_exactly_the_last_version_of_each_object(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    writes = mixed_writes(10_000, keys=1500, seed=10_000)
    expected = dict(writes)
    workers = [start_worker(batch_max_wait=0.1) for _ in range(2)]
    send(producer, writes, BUCKET)
    assert wait_until_drained(queue).dead == 0
    left = {key: body for key, body in expected.items() if body is not None}
    assert {key for _, key in sink.objects} == set(left)
    for key, body in left.items():
        stored = sink.objects[BUCKET, key]
        assert stored.body == body, key
        assert stored.sha256 == hashlib.sha256(body).hexdigest()
    assert len(sink.requests) > 1000, "almost all was coalesced, so this says little"
    assert not any(worker.events("write_failed") for worker in workers)
    stats = queue.stats()
    assert (stats.items, stats.bytes) == (0, 0)


@pytest.mark.slow
def test_mixed_writes_leave_the_last_version_of_each_object_in_moto(
    producer: Producer,
    queue: Queue,
    s3: S3Client,
    s3_server: S3Server,
    bucket: str,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    writes = mixed_writes(500, keys=20, seed=500)
    start_worker(endpoint_url=s3_server.endpoint_url, batch_max_wait=0.1)
    send(producer, writes, bucket)
    assert wait_until_drained(queue).dead == 0
    left = {key: body for key, body in dict(writes).items() if body is not None}
    listed: dict[str, str] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        listed.update((entry["Key"], entry["ETag"]) for entry in page.get("Contents", []))
    assert set(listed) == set(left)
    for key, body in left.items():
        found = s3.get_object(Bucket=bucket, Key=key)
        assert decode(found["Body"].read(), found.get("ContentEncoding")) == body


def test_large_bodies_arrive_whole(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    noise = random.Random(16)
    bodies = {str(size): noise.randbytes(size) for size in (65_535, 65_536, 65_537, MIB, 5 * MIB, 16 * MIB)}
    for key, body in bodies.items():
        producer.put(key, body)
    producer.put("replaced", noise.randbytes(200_000))
    producer.put("replaced", b"small")
    producer.put("grown", b"small")
    producer.put("grown", bodies["65536"])
    start_worker()
    assert wait_until_drained(queue).dead == 0
    bodies |= {"replaced": b"small", "grown": bodies["65536"]}
    assert {key for _, key in sink.objects} == set(bodies)
    for key, body in bodies.items():
        assert sink.objects[BUCKET, key].body == body, key
    assert not queue.client.keys(queue.prefix.replace("{", "[{]") + "blob:*"), "a body was left in Redis"
