"""What both engines put on the wire, and when they put nothing there."""

from __future__ import annotations

import base64
import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

import pytest
from msgspec import structs

from penstock_worker.stores import Addressing, Engine, ErrorClass, PutRequest, StoreConfig, StoreFault, boto
from tests.support.stores import (
    BUCKET,
    ENGINES,
    LINE_BREAK_KEY,
    ODD_KEYS,
    SHORT_LIMIT,
    allow,
    config_for,
    fault_of_put,
    only_environment_credentials,
    opened,
    request,
)
from tests.support.stub_s3 import Answer, Recorded, StubS3, deleted, reply, stored

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("engine", ENGINES)]

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_environment_credentials(monkeypatch, tmp_path)


FULL = PutRequest(
    bucket=BUCKET,
    key="reports/42.json",
    body=b"some bytes",
    content_type="application/json",
    cache_control="max-age=60",
    content_disposition="inline",
    content_encoding="zstd",
    storage_class="STANDARD_IA",
    tags={"ttl_days": "7", "a b": "c+d/é&="},
    metadata={"penstock-seq": "17", "Source": "web"},
)
SETTINGS = {"sse": "aws:kms", "kms_key_id": "the-key", "expected_owner": "123456789012"}
CONTENT_HEADERS = {
    "content-type": "application/json",
    "cache-control": "max-age=60",
    "content-disposition": "inline",
    "content-encoding": "zstd",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-meta-penstock-seq": "17",
    "x-amz-meta-source": "web",
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": "the-key",
    "x-amz-expected-bucket-owner": "123456789012",
    "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"some bytes").digest()).decode(),
    "content-length": "10",
}


def _signed(recorded: Recorded) -> set[str]:
    authorization = recorded.headers["authorization"]
    return set(authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";"))


def test_every_header_is_sent_and_signed(engine: Engine) -> None:
    with StubS3() as stub:
        config = replace(config_for(stub.endpoint_url), **SETTINGS)  # type: ignore[arg-type]
        with opened(engine, config) as store:
            store.put(FULL, allow)
        (recorded,) = stub.requests
    assert recorded.method == "PUT"
    assert recorded.target == f"/{BUCKET}/reports/42.json"
    assert recorded.body == b"some bytes"
    for name, value in CONTENT_HEADERS.items():
        assert recorded.headers[name] == value
    assert dict(parse_qsl(recorded.headers["x-amz-tagging"])) == FULL.tags
    amazons = {name for name in recorded.headers if name.startswith("x-amz-")}
    assert amazons <= _signed(recorded)
    # The tags are there already; nothing else of Amazon's but what signing adds.
    assert amazons - CONTENT_HEADERS.keys() == {"x-amz-tagging", "x-amz-date", "x-amz-content-sha256"}


def test_nothing_is_sent_that_was_not_given(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        store.put(request(body=b""), allow)
        (recorded,) = stub.requests
    empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    assert recorded.headers["x-amz-checksum-sha256"] == empty
    assert recorded.headers["content-length"] == "0"
    unwanted = {"content-type", "cache-control", "content-encoding", "x-amz-tagging", "expect", "x-amz-acl"}
    assert unwanted.isdisjoint(recorded.headers)


def test_a_key_is_on_the_wire_as_it_is(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for key in (*ODD_KEYS, LINE_BREAK_KEY):
            store.put(request(key), allow)
            target = stub.requests[-1].target
            assert unquote(target) == f"/{BUCKET}/{key}"
            # What the signature covers: all but RFC 3986's unreserved characters and the slash is escaped.
            assert target == f"/{BUCKET}/{quote(key, safe='/~')}"


class LeaseLost(Exception):
    pass


def lose() -> None:
    raise LeaseLost


@pytest.mark.parametrize("key", ["plain", "/odd"])
def test_without_a_lease_nothing_is_sent_and_the_checks_exception_comes_out(engine: Engine, key: str) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        with pytest.raises(LeaseLost):
            store.put(request(key), lose)
        with pytest.raises(LeaseLost):
            store.delete_many(BUCKET, [key], lose)
        with pytest.raises(LeaseLost):
            store.delete_many(BUCKET, ["\x01"], lose)
        assert stub.requests == []
        # The check belonged to those calls, not to the store.
        store.put(request(key), allow)
        assert len(stub.requests) == 1


def test_each_thread_has_its_own_lease(engine: Engine) -> None:
    """Half of the threads have lost theirs: exactly the others' objects arrive."""
    outcomes: dict[int, bool] = {}
    start = threading.Barrier(8)

    def upload(number: int) -> None:
        start.wait(10)
        for turn in range(20):
            try:
                store.put(request(f"{number}/{turn}"), lose if number % 2 else allow)
                outcomes[number] = True
            except LeaseLost:
                outcomes[number] = False

    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        threads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        targets = {recorded.target for recorded in stub.requests}
    assert outcomes == {number: number % 2 == 0 for number in range(8)}
    assert targets == {f"/{BUCKET}/{number}/{turn}" for number in range(0, 8, 2) for turn in range(20)}


def test_connections_are_kept(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for _ in range(20):
            store.put(request(), allow)
        # hyper hands a connection back in the background, so the next request may just miss it.
        assert stub.connections < len(stub.requests)


BAD_HEADERS = [
    PutRequest(BUCKET, "k", b"x", metadata={"name": "line\nbreak"}),
    PutRequest(BUCKET, "k", b"x", metadata={"name": "ümlaut"}),
    PutRequest(BUCKET, "k", b"x", metadata={"two words": "value"}),
    PutRequest(BUCKET, "k", b"x", metadata={"": "value"}),
    PutRequest(BUCKET, "k", b"x", content_type="text/plain\r\nx-amz-acl: public-read"),
    PutRequest(BUCKET, "k", b"x", content_disposition="attachment; filename=ü"),
    PutRequest(BUCKET, "k", b"x", storage_class="\x00"),
]


def test_what_is_no_header_is_permanent_and_not_sent(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for bad in BAD_HEADERS:
            for refused in (bad, structs.replace(bad, key="/odd")):
                fault = fault_of_put(store, refused)
                assert (fault.error_class, fault.code) == (ErrorClass.PERMANENT, "InvalidParameter")
        assert stub.requests == []


def test_a_bucket_that_cannot_exist_suspends_instead_of_losing_writes(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        fault = fault_of_put(store, PutRequest("not a bucket", "k", b"x"))
        assert (fault.error_class, fault.code) == (ErrorClass.ENVIRONMENT, "InvalidBucketName")
        assert stub.requests == []


@pytest.mark.parametrize(
    ("addressing", "url"),
    [
        ("auto", f"http://s3.example.test/{BUCKET}/key"),
        ("path", f"http://s3.example.test/{BUCKET}/key"),
        ("virtual", f"http://{BUCKET}.s3.example.test/key"),
    ],
)
def test_proxy_and_addressing_are_those_of_boto3(
    engine: Engine, addressing: Addressing, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StubS3() as proxy, StubS3() as direct:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint_url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with opened(engine, replace(config_for("http://s3.example.test"), addressing=addressing)) as store:
            store.put(request(), allow)
        assert [recorded.target for recorded in proxy.requests] == [url]
        with opened(engine, config_for(direct.endpoint_url)) as store:
            store.put(request(), allow)
        assert (len(proxy.requests), len(direct.requests)) == (1, 1)


def test_endpoint_and_region_may_come_from_boto3s_own_settings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with StubS3() as stub, StubS3() as named:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", stub.endpoint_url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
        with opened(engine, StoreConfig()) as store:
            store.put(request(), allow)
        (recorded,) = stub.requests
        assert "/eu-north-1/s3/aws4_request" in recorded.headers["authorization"]
        # A setting of Penstock's goes before them.
        with opened(engine, config_for(named.endpoint_url)) as store:
            store.put(request(), allow)
        (recorded,) = named.requests
        assert "/us-east-1/s3/aws4_request" in recorded.headers["authorization"]


def test_switches_that_only_obstore_knows_change_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("SKIP_SIGNATURE", "DISABLE_TAGGING", "UNSIGNED_PAYLOAD", "S3_EXPRESS"),
        "VIRTUAL_HOSTED_STYLE_REQUEST",
    ):
        monkeypatch.setenv(f"AWS_{name}", "true")
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        store.put(FULL, allow)
        (recorded,) = stub.requests
    assert recorded.target == f"/{BUCKET}/reports/42.json"
    assert recorded.headers["x-amz-content-sha256"] == hashlib.sha256(b"some bytes").hexdigest()
    assert {"authorization", "x-amz-tagging"} <= recorded.headers.keys()


def test_a_large_body_has_the_time_that_its_size_allows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow network takes longer than a small body may; connecting and waiting keep their own limits."""
    monkeypatch.setattr(boto, "CONNECT_SECONDS", SHORT_LIMIT)
    slow = Answer(raw=stored().raw, body_delay=4 * SHORT_LIMIT)
    body = b"x" * (32 * MIB)  # more than the sockets' buffers hold
    with StubS3() as stub:
        # The last class but two: 64 MiB at 16 MiB/s are 4 s.
        patient = replace(config_for(stub.endpoint_url, request_timeout=SHORT_LIMIT), min_bytes_per_second=16 * MIB)
        with opened(engine, patient) as store:
            stub.script(slow)
            store.put(request(body=body), allow)
        hasty = replace(patient, min_bytes_per_second=2048 * MIB)
        with opened(engine, hasty) as store:
            stub.script(slow)
            fault = fault_of_put(store, request(body=body))
    assert (fault.error_class, fault.code) == (ErrorClass.UNKNOWN, "Timeout")


def test_the_expected_owner_is_on_every_request(engine: Engine) -> None:
    with StubS3() as stub:
        config = StoreConfig(endpoint_url=stub.endpoint_url, region="us-east-1", expected_owner="123456789012")
        with opened(engine, config) as store:
            stub.script(reply(200, ETag='"e"'), reply(200, ETag='"e"'), deleted("k"), reply(204))
            store.head(BUCKET, "k")
            store.get(BUCKET, "k")
            store.delete_many(BUCKET, ["k", "\x01"], allow)
        owners = [recorded.headers.get("x-amz-expected-bucket-owner") for recorded in stub.requests]
    assert owners == ["123456789012"] * 4


def test_a_config_that_no_client_can_be_made_with_is_told_at_once(engine: Engine) -> None:
    with pytest.raises(ValueError, match="Invalid endpoint"), opened(engine, config_for("no url")):
        raise AssertionError("a store was made")


def test_a_fault_is_one_line_that_says_what_happened(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(reply(403))
        with pytest.raises(StoreFault, match=r"NoCode \(HTTP 403, environment\): an answer with status 403"):
            store.put(request(), allow)
