"""What a caller of either producer gets, on a real Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import InvalidWrite, QueueFull, QueueMismatch, QueueUnavailable, Write
from penstock.queue.connection import open_client
from penstock.queue.names import key_prefix
from penstock.queue.record import LARGE_BODY
from penstock.values import DEFAULT_MAX_BODY_BYTES
from tests.support.producers import BUCKET, KINDS, AnyProducer, Seen

pytestmark = pytest.mark.integration


@pytest.fixture
def seen(redis_url: str, queue_name: str) -> Iterator[Seen]:
    seen = Seen(redis_url, queue_name)
    yield seen
    seen.close()


@pytest.fixture(params=KINDS, ids=["threads", "asyncio"])
def producer(request: pytest.FixtureRequest, redis_url: str, queue_name: str) -> Iterator[AnyProducer]:
    made: AnyProducer = request.param(
        redis_url, bucket=BUCKET, queue=queue_name, priorities={"urgent/": "critical"}, timeout=10
    )
    with made:
        yield made


def test_what_was_put_is_in_redis_to_the_last_field(producer: AnyProducer, seen: Seen) -> None:
    body = bytes(range(256))
    receipt = producer.put(
        "urgent/ü",
        body,
        content_type="text/plain",
        cache_control="no-store",
        content_disposition="inline",
        storage_class="STANDARD_IA",
        tags={"ttl_days": "7"},
        metadata={"source": "web"},
        tenant="acme",
        compression="none",
    )
    record = seen.records()[f"{BUCKET}/urgent/ü"]
    assert bytes(record.body or b"") == body
    assert record.sha256 == hashlib.sha256(body).digest()
    assert (record.seq, record.priority, record.tenant, record.is_delete) == (receipt.seq, 0, "acme", False)
    header = record.header
    assert (header.content_type, header.cache_control, header.content_disposition, header.storage_class) == (
        *("text/plain", "no-store", "inline", "STANDARD_IA"),
    )
    assert (header.tags, header.metadata, header.compression) == ({"ttl_days": "7"}, {"source": "web"}, "none")
    assert (receipt.coalesced, receipt.spooled) == (False, False)


def test_a_newer_write_takes_the_place_of_a_waiting_one_and_has_a_greater_number(
    producer: AnyProducer, seen: Seen
) -> None:
    receipts = [producer.put("key", b"old"), producer.put("key", b"new"), producer.delete("key")]
    assert [receipt.coalesced for receipt in receipts] == [False, True, True]
    assert receipts[0].seq < receipts[1].seq < receipts[2].seq
    record = seen.records()[f"{BUCKET}/key"]
    assert record.is_delete
    assert record.seq == receipts[2].seq
    assert (seen.accepted(), seen.coalesced()) == (3, 2)


def test_a_call_may_name_another_bucket_and_another_priority(producer: AnyProducer, seen: Seen) -> None:
    producer.put("urgent/1", b"", bucket="other-bucket", priority="low")
    producer.delete("urgent/2", bucket="other-bucket", priority="high", tenant="acme")
    records = seen.records()
    assert records["other-bucket/urgent/1"].priority == 3
    assert (records["other-bucket/urgent/2"].priority, records["other-bucket/urgent/2"].tenant) == (1, "acme")


@pytest.mark.parametrize("size", [0, LARGE_BODY - 1, LARGE_BODY, 3 * 1024**2, DEFAULT_MAX_BODY_BYTES])
def test_a_body_of_any_size_arrives_whole(producer: AnyProducer, seen: Seen, size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    producer.put("key", body[:size])
    assert seen.body(f"{BUCKET}/key") == body[:size]
    assert all(seen.client.ttl(key) == -1 for key in seen.keys("blob:")), "a body that is waited for must not expire"
    assert len(seen.keys("blob:")) == (size >= LARGE_BODY)


def test_many_are_accepted_in_order(producer: AnyProducer, seen: Seen) -> None:
    writes = [Write(key=f"key/{number}", body=b"%d" % number) for number in range(1000)]
    writes += [Write(key="key/0", body=b"again"), Write(key="large", body=bytes(LARGE_BODY * 3))]
    receipts = producer.put_many(iter(writes))
    assert len(receipts) == 1002
    assert [receipt.seq for receipt in receipts] == sorted({receipt.seq for receipt in receipts})
    assert [number for number, receipt in enumerate(receipts) if receipt.coalesced] == [1000]
    assert seen.body(f"{BUCKET}/key/0") == b"again"
    assert seen.body(f"{BUCKET}/key/999") == b"999"
    assert seen.body(f"{BUCKET}/large") == bytes(LARGE_BODY * 3)
    assert producer.put_many([]) == []


def test_nothing_of_many_is_sent_when_one_is_invalid(producer: AnyProducer, seen: Seen) -> None:
    writes = [Write(key=f"key/{number}", body=b"") for number in range(600)] + [Write(key="bad\n", body=b"")]
    with pytest.raises(InvalidWrite, match=r"writes\[600\]") as caught:
        producer.put_many(writes)
    assert caught.value.receipts == ()
    assert seen.records() == {}


def test_a_chunk_is_all_or_none_and_the_error_has_the_receipts_before_it(producer: AnyProducer, seen: Seen) -> None:
    seen.limit(items=300)
    with pytest.raises(QueueFull) as caught:
        producer.put_many([Write(key=f"key/{number}", body=b"") for number in range(512)])
    error = caught.value
    assert (error.unit, error.limit, error.current) == ("items", 300, 256)
    assert len(error.receipts) == 256
    records = seen.records()
    assert [records[f"{BUCKET}/key/{number}"].seq for number in range(256)] == [r.seq for r in error.receipts]
    assert len(records) == 256
    assert len(producer.put_many([Write(key=f"other/{number}", body=b"") for number in range(44)])) == 44


def test_a_full_queue_says_so_and_takes_what_replaces_something(producer: AnyProducer, seen: Seen) -> None:
    producer.put("key", bytes(1000))
    seen.limit(size=1500)
    with pytest.raises(QueueFull) as caught:
        producer.put("other", bytes(1000))
    assert (caught.value.unit, caught.value.limit) == ("bytes", 1500)
    assert caught.value.receipts == ()
    with pytest.raises(QueueFull):
        producer.put("large", bytes(LARGE_BODY))
    assert seen.keys("blob:") == []  # what was refused leaves nothing behind
    assert producer.put("key", bytes(900)).coalesced


def test_another_layout_is_left_alone(producer: AnyProducer, redis_url: str, queue_name: str, seen: Seen) -> None:
    seen.client.hset(key_prefix(queue_name) + "meta", "layout", "999")
    with pytest.raises(QueueMismatch, match="layout 999"):
        producer.put("key", b"body")
    assert seen.records() == {}


def test_an_invalid_write_never_reaches_redis() -> None:
    nowhere = "redis://127.0.0.1:1/0"
    for kind in KINDS:
        with kind(nowhere, bucket=BUCKET, timeout=0.1) as producer:
            bad: list[tuple[str, Any, dict[str, Any]]] = [
                ("", b"", {}),
                ("key", "text", {}),
                ("key", b"", {"bucket": "No"}),
                ("key", b"", {"tags": {"aws:x": "y"}}),
                ("key", b"", {"priority": "urgent"}),
            ]
            for key, body, fields in bad:
                with pytest.raises(InvalidWrite):
                    producer.put(key, body, **fields)
            with pytest.raises(InvalidWrite):
                producer.delete("")


def test_a_closed_producer_refuses_and_may_be_closed_again(producer: AnyProducer, seen: Seen) -> None:
    producer.put("key", b"body")
    producer.close()
    producer.close()
    with pytest.raises(QueueUnavailable, match="closed") as caught:
        producer.put("key", b"")
    assert not caught.value.maybe_accepted
    with pytest.raises(QueueUnavailable, match="closed"):
        producer.delete("key")
    assert seen.accepted() == 1


def test_a_producer_that_was_never_used_connects_to_nothing() -> None:
    for kind in KINDS:
        with kind("redis://127.0.0.1:1/0", bucket=BUCKET):
            pass


def test_the_large_body_of_a_lost_call_expires(producer: AnyProducer, redis_url: str, queue_name: str) -> None:
    seen = Seen(redis_url, queue_name)
    producer.put("key", b"small")
    # The script is refused after the body was set: the layout is checked before all else.
    seen.client.hset(key_prefix(queue_name) + "meta", "layout", "999")
    with pytest.raises(QueueMismatch):
        producer.put("large", bytes(LARGE_BODY))
    (orphan,) = seen.keys("blob:")
    with open_client(redis_url, 10) as client:
        assert 0 < int(client.ttl(orphan)) <= 600
    seen.close()
