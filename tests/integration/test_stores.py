"""Both engines against an S3 over HTTP: what is stored is what was given."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from penstock_worker.demo.servers import S3Server
from penstock_worker.stores import Engine, ErrorClass, PutRequest, Store, StoreFault
from tests.support.stores import (
    ENGINES,
    ODD_KEYS,
    allow,
    config_for,
    fault_of_put,
    only_environment_credentials,
    opened,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration

MIB = 1024 * 1024


@pytest.fixture(params=ENGINES)
def store(
    request: pytest.FixtureRequest, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Store]:
    only_environment_credentials(monkeypatch, tmp_path)
    engine: Engine = request.param
    with opened(engine, config_for(s3_server.endpoint_url)) as opened_store:
        yield opened_store


def test_object_has_body_headers_tags_and_metadata_as_given(store: Store, bucket: str, s3: S3Client) -> None:
    store.put(
        PutRequest(
            bucket=bucket,
            key="reports/42.json",
            body=b'{"a": 1}',
            content_type="application/json",
            cache_control="max-age=60",
            content_disposition='attachment; filename="42.json"',
            storage_class="STANDARD_IA",
            tags={"ttl_days": "7", "path:a/b": "x + y = z@ü"},
            metadata={"penstock-seq": "17", "Source": "web; q=1"},
        ),
        allow,
    )
    head = s3.head_object(Bucket=bucket, Key="reports/42.json")
    assert head["ContentType"] == "application/json"
    assert head["CacheControl"] == "max-age=60"
    assert head["ContentDisposition"] == 'attachment; filename="42.json"'
    assert head["StorageClass"] == "STANDARD_IA"
    tags = s3.get_object_tagging(Bucket=bucket, Key="reports/42.json")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"ttl_days": "7", "path:a/b": "x + y = z@ü"}
    found = store.get(bucket, "reports/42.json")
    assert found is not None
    info, body = found
    assert body == b'{"a": 1}'
    assert info.size == 8
    assert info.content_type == "application/json"
    assert info.metadata == {"penstock-seq": "17", "source": "web; q=1"}
    assert info.etag == head["ETag"]


def test_odd_keys_name_the_same_object_through_every_call(store: Store, bucket: str, s3: S3Client) -> None:
    for key in ODD_KEYS:
        store.put(PutRequest(bucket, key, key.encode()), allow)
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert {entry["Key"] for entry in listed} == set(ODD_KEYS)
    for key in ODD_KEYS:
        found = store.get(bucket, key)
        assert found is not None, key
        assert found[1] == key.encode()
        info = store.head(bucket, key)
        assert info is not None, key
        assert info.size == len(key.encode())
    assert store.delete_many(bucket, ODD_KEYS, allow) == {}
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_stored_bytes_come_back_undecoded(store: Store, bucket: str) -> None:
    body = gzip.compress(b"text " * 1000)
    store.put(PutRequest(bucket, "text", body, content_encoding="gzip"), allow)
    found = store.get(bucket, "text")
    assert found is not None
    assert found[1] == body
    assert found[0].content_encoding == "gzip"
    assert found[0].size == len(body)


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 16 * MIB])
def test_body_of_any_size_is_one_object(store: Store, bucket: str, s3: S3Client, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"\xff" * (size % 256)
    store.put(PutRequest(bucket, "blob", body), allow)
    found = store.get(bucket, "blob")
    assert found is not None
    assert found[1] == body
    # A multipart upload's ETag ends in the number of its parts.
    assert "-" not in s3.head_object(Bucket=bucket, Key="blob")["ETag"]


def test_metadata_may_be_called_like_a_header(store: Store, bucket: str) -> None:
    metadata = {"content-type": "user's own", "Storage-Class": "GLACIER"}
    store.put(PutRequest(bucket, "k", b"x", content_type="text/plain", metadata=metadata), allow)
    info = store.head(bucket, "k")
    assert info is not None
    assert info.content_type == "text/plain"
    assert info.metadata == {"content-type": "user's own", "storage-class": "GLACIER"}


def test_missing_object_is_none(store: Store, bucket: str) -> None:
    assert store.head(bucket, "missing") is None
    assert store.get(bucket, "missing") is None


def test_missing_bucket_is_an_environment_fault(store: Store) -> None:
    fault = fault_of_put(store, PutRequest("no-such-bucket-here", "k", b"x"))
    assert (fault.error_class, fault.code, fault.http_status) == (ErrorClass.ENVIRONMENT, "NoSuchBucket", 404)
    with pytest.raises(StoreFault, match="NoSuchBucket"):
        store.get("no-such-bucket-here", "k")
    with pytest.raises(StoreFault, match="NoSuchBucket"):
        store.delete_many("no-such-bucket-here", ["k"], allow)


def test_in_a_versioned_bucket_deleted_and_missing_keys_are_gone(store: Store, bucket: str, s3: S3Client) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store.put(PutRequest(bucket, "k", b"x"), allow)
    assert store.delete_many(bucket, ["k", "missing", "/lead"], allow) == {}
    assert store.head(bucket, "k") is None


def test_a_thousand_keys_are_deleted_and_missing_ones_are_no_failure(store: Store, bucket: str, s3: S3Client) -> None:
    for number in range(3):
        store.put(PutRequest(bucket, f"k{number}", b"x"), allow)
    keys = [f"k{number}" for number in range(999)] + ["control\x01character"]
    assert store.delete_many(bucket, keys, allow) == {}
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    with pytest.raises(ValueError, match="1001 keys"):
        store.delete_many(bucket, [*keys, "one more"], allow)
