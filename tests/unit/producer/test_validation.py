"""S3's limits, to the byte: nothing that S3 would refuse is accepted, and nothing that it takes is refused."""

from __future__ import annotations

import array
from typing import Any

import msgspec
import pytest

from penstock import InvalidWrite, PenstockError, Write
from penstock.queue.enqueue import Prepared
from penstock.queue.record import FLAG_BLOB, FLAG_DELETE, LARGE_BODY
from penstock.write import (
    MAX_ALL_HEADERS,
    MAX_HEADER,
    MAX_METADATA_BYTES,
    prepare_delete,
)
from tests.support.prepared import prepare_put

MAX_BODY = 1000


def prepare(
    key: Any = "key", body: Any = b"body", *, bucket: Any = "bucket", priority: Any = "normal", **fields: Any
) -> Prepared:
    return prepare_put(Write(key=key, body=body, **fields), bucket, priority, MAX_BODY, b"blob")


def refusal(*args: Any, **fields: Any) -> str:
    with pytest.raises(InvalidWrite) as caught:
        prepare(*args, **fields)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PenstockError)
    return str(caught.value)


GOOD_KEYS = ["a", "k" * 1024, "ü" * 512, "😀" * 256, "/lead", "a//b", "..", "a b", "100%", "\u2028", "a/../b"]
BAD_KEYS = [
    ("", "0 bytes"),
    ("k" * 1025, "1,025 bytes"),
    ("ü" * 512 + "k", "1,025 bytes"),
    ("😀" * 257, "1,028 bytes"),
    *((f"a{character}b", "control character") for character in "\x00\x01\t\n\r\x1b\x1f\x7f\x80\x85\x9f\ufffe\uffff"),
    ("\ud800", "not valid Unicode"),
    (b"bytes", "must be a str, not bytes"),
    (None, "must be a str, not NoneType"),
    (7, "must be a str, not int"),
]


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_a_key_that_s3_takes_is_taken(key: str) -> None:
    assert prepare(key).name == b"bucket/" + key.encode()
    assert prepare_delete(key, "bucket", "normal", "").name == b"bucket/" + key.encode()


@pytest.mark.parametrize(("key", "why"), BAD_KEYS)
def test_a_bad_key_is_refused_and_told_why(key: Any, why: str) -> None:
    assert why in refusal(key)
    with pytest.raises(InvalidWrite, match=why):
        prepare_delete(key, "bucket", "normal", "")


@pytest.mark.parametrize("bucket", ["abc", "a" * 63, "my.bucket-1", "0bucket9", "1.2.3.a"])
def test_a_bucket_name_that_s3_takes_is_taken(bucket: str) -> None:
    assert prepare(bucket=bucket).name == bucket.encode() + b"/key"


@pytest.mark.parametrize(
    "bucket",
    [
        *("", "ab", "a" * 64, "Bucket", "my_bucket", "-bucket", "bucket-", ".bucket", "a..b", "a/b", "bücket", "abc\n"),
        *("192.168.0.1", b"bucket", 7, None, ["bucket"]),
    ],
)
def test_a_bad_bucket_name_is_refused(bucket: Any) -> None:
    assert "is no bucket name" in refusal(bucket=bucket)


@pytest.mark.parametrize(
    "body",
    [b"", b"body", bytearray(b"body"), memoryview(b"body"), memoryview(b"b o d y ")[::2], array.array("B", b"body")],
)
def test_any_bytes_like_body_is_taken(body: Any) -> None:
    expected = bytes(memoryview(body))
    assert prepare(body=body).tail.endswith(b"\x80" + expected)


def test_a_body_that_changes_afterwards_was_copied() -> None:
    body = bytearray(b"before")
    prepared = prepare(body=body)
    body[:] = b"after!"
    assert prepared.tail.endswith(b"before")


def test_a_str_body_is_refused_and_told_to_encode() -> None:
    assert "body.encode('utf-8')" in refusal(body="text")


@pytest.mark.parametrize("body", [None, 7, ["bytes"], {"a": 1}, object(), (b"x" for _ in "x")])
def test_a_body_that_is_not_bytes_like_is_refused(body: Any) -> None:
    assert "must be bytes-like, not" in refusal(body=body)


@pytest.mark.parametrize("make", [bytes, bytearray, lambda size: memoryview(bytes(size))])
def test_the_size_limit_is_exact_and_names_its_setting(make: Any) -> None:
    prepare(body=make(MAX_BODY))
    message = refusal(body=make(MAX_BODY + 1))
    assert "PENSTOCK_MAX_BODY_BYTES" in message
    assert "1,001" in message
    assert "1,000" in message


def test_the_size_limit_counts_bytes_not_elements() -> None:
    assert "PENSTOCK_MAX_BODY_BYTES" in refusal(body=array.array("Q", range(MAX_BODY // 8 + 1)))


def test_a_large_body_goes_apart_from_its_record() -> None:
    small = prepare_put(Write(key="k", body=bytes(LARGE_BODY - 1)), "bucket", "normal", LARGE_BODY, b"id")
    large = prepare_put(Write(key="k", body=bytes(LARGE_BODY)), "bucket", "normal", LARGE_BODY, b"id")
    assert (small.blob_id, small.blob, small.head[1]) == (None, b"", 0)
    assert (large.blob_id, len(large.blob), large.head[1]) == (b"id", LARGE_BODY, FLAG_BLOB)
    assert len(large.tail) < 100
    assert large.cost > LARGE_BODY  # what a call's limit of bytes counts


def test_a_delete_is_marked_as_one() -> None:
    assert prepare_delete("key", "bucket", "critical", "").head == bytes((0, FLAG_DELETE))


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"k": ""},
        {"k" * 128: "v" * 256},
        {f"tag{number}": "value" for number in range(10)},
        {"Ünïcode + - = . _ : / @": "数字 123"},
        {"not-aws:": "x", "xaws:": "y"},
    ],
)
def test_tags_that_s3_takes_are_taken(tags: dict[str, str]) -> None:
    prepare(tags=tags)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({f"tag{number}": "value" for number in range(11)}, "11 tags"),
        ({"": "value"}, "1 to 128 characters"),
        ({"k" * 129: "value"}, "1 to 128 characters"),
        ({"key": "v" * 257}, "up to 256"),
        ({"aws:key": "value"}, "reserved"),
        ({"AWS:key": "value"}, "reserved"),
        ({"key": "a&b"}, "only letters"),
        ({"a?b": "value"}, "only letters"),
        ({"key": "line\nbreak"}, "only letters"),
        ({"key": "value\n"}, "only letters"),
        ({"key": 7}, "must map str to str"),
        ({7: "value"}, "must map str to str"),
        ({"key": None}, "must map str to str"),
        ([("key", "value")], "be no list"),
        ("key=value", "be no str"),
    ],
)
def test_bad_tags_are_refused(tags: Any, why: str) -> None:
    assert why in refusal(tags=tags)


@pytest.mark.parametrize(
    "metadata", [{}, {"source": "web"}, {"Mixed-Case": "x"}, {"empty": ""}, {"a": "printable !~ ASCII"}]
)
def test_metadata_that_s3_takes_is_taken(metadata: dict[str, str]) -> None:
    prepare(metadata=metadata)


def test_the_limit_of_metadata_is_exact_and_leaves_room_for_our_own() -> None:
    own = len("penstock-seq") + 16 + len("penstock-sha256") + 64
    assert 2048 - own == MAX_METADATA_BYTES
    prepare(metadata={"a": "v" * (MAX_METADATA_BYTES - 1)})
    assert "2,048" in refusal(metadata={"a": "v" * MAX_METADATA_BYTES})
    assert "2,048" in refusal(metadata={"a": "v" * 1000, "b": "v" * (MAX_METADATA_BYTES - 1001)})


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"": "value"}, "a name is made of"),
        ({"two words": "value"}, "a name is made of"),
        ({"näme": "value"}, "a name is made of"),
        ({"name:": "value"}, "a name is made of"),
        ({"na\nme": "value"}, "a name is made of"),
        ({"penstock-seq": "1"}, "does not begin with penstock-"),
        ({"Penstock-x": "1"}, "does not begin with penstock-"),
        ({"Name": "1", "name": "2"}, "once whatever its case"),
        ({"name": "line\r\nbreak: x"}, "line breaks"),
        ({"name": "value\n"}, "line breaks"),
        ({"name": " value"}, "spaces around"),
        ({"name": "ümlaut"}, "printable ASCII"),
        ({"name": "\x00"}, "printable ASCII"),
        ({"name": 7}, "must map str to str"),
        (["name"], "be no list"),
    ],
)
def test_bad_metadata_is_refused(metadata: Any, why: str) -> None:
    assert why in refusal(metadata=metadata)


HEADER_NAMES = ["content_type", "cache_control", "content_disposition", "storage_class"]


@pytest.mark.parametrize("name", HEADER_NAMES)
@pytest.mark.parametrize("value", ["x", "text/plain; charset=utf-8", "v" * MAX_HEADER])
def test_a_header_that_http_takes_is_taken(name: str, value: str) -> None:
    prepare(**{name: value})


@pytest.mark.parametrize("name", HEADER_NAMES)
@pytest.mark.parametrize(
    "value", ["", " x", "x ", "a\nb", "a\r\nx-amz-acl: public-read", "x\n", "ü", "\x7f", "v" * 1025, 7, b"x", ["x"]]
)
def test_a_bad_header_is_refused_by_name(name: str, value: Any) -> None:
    assert name in refusal(**{name: value})


def test_what_would_overflow_s3s_request_headers_is_refused() -> None:
    tags = {f"{number}{'ü' * 127}": "ü" * 200 for number in range(10)}  # each character becomes six in the header
    assert f"{MAX_ALL_HEADERS:,}" in refusal(tags=tags)
    prepare(tags={f"{number}{'k' * 127}": "v" * 256 for number in range(10)}, metadata={"a": "v" * 1900})


@pytest.mark.parametrize("compression", ["gzip", "", "ZSTD", None, 7, ["zstd"]])
def test_an_unknown_compression_is_refused(compression: Any) -> None:
    assert "compression" in refusal(compression=compression)


@pytest.mark.parametrize(("priority", "number"), [("critical", 0), ("high", 1), ("normal", 2), ("low", 3)])
def test_priorities_have_their_numbers(priority: str, number: int) -> None:
    assert prepare(priority=priority).head[0] == number


@pytest.mark.parametrize("priority", ["urgent", "", "Critical", 0, True, ["low"]])
def test_an_unknown_priority_is_refused_and_the_known_are_named(priority: Any) -> None:
    assert "critical, high, normal, low" in refusal(priority=priority)


@pytest.mark.parametrize("tenant", ["", "acme", "t" * 64, "ü" * 32, "a/b:c{d}"])
def test_a_tenant_is_any_short_text(tenant: str) -> None:
    encoded = tenant.encode()
    assert prepare(tenant=tenant).tail.startswith(bytes((len(encoded),)) + encoded)


@pytest.mark.parametrize("tenant", ["t" * 65, "ü" * 33, "a\nb", "\x00", "\ud800", 7, None, b"acme", ["acme"]])
def test_a_bad_tenant_is_refused(tenant: Any) -> None:
    assert "tenant" in refusal(tenant=tenant)
    with pytest.raises(InvalidWrite, match="tenant"):
        prepare_delete("key", "bucket", "normal", tenant)


def test_a_message_never_holds_the_body() -> None:
    secret = b"s3cr3t" * 1000
    assert "s3cr3t" not in refusal(body=secret)
    assert "s3cr3t" not in repr(Write(key="key", body=secret))


def test_nothing_given_costs_one_byte_of_header() -> None:
    assert msgspec.msgpack.decode(prepare(body=b"").tail[-1:]) == {}
