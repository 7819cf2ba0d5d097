"""Bulk deletes and reads against a server that misbehaves, the same by both engines."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from penstock_worker.stores import Engine, ErrorClass, StoreFault
from tests.support.stores import (
    BUCKET,
    ENGINES,
    allow,
    config_for,
    only_environment_credentials,
    opened,
)
from tests.support.stub_s3 import Answer, StubS3, deleted, error, raw, reply

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("engine", ENGINES)]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_environment_credentials(monkeypatch, tmp_path)


def test_a_fault_of_a_whole_bulk_delete_is_raised(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for answer, code in ((error(503, "SlowDown"), "SlowDown"), (error(200, "InternalError"), "InternalError")):
            stub.script(answer)
            with pytest.raises(StoreFault) as caught:
                store.delete_many(BUCKET, ["a", "b"], allow)
            assert caught.value.code == code
        assert len(stub.requests) == 2


def test_failures_of_a_bulk_delete_come_by_key(engine: Engine) -> None:
    body = (
        b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        b"<Error><Key>b</Key><Code>InternalError</Code><Message>oops</Message></Error>"
        b"<Error><Key>c</Key><Code>NoSuchKey</Code><Message>gone</Message></Error>"
        b"<Deleted><Key>d</Key><DeleteMarker>true</DeleteMarker>"
        b"<DeleteMarkerVersionId>v2</DeleteMarkerVersionId></Deleted></DeleteResult>"
    )
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(reply(200, body, Content_Type="application/xml"))
        failures = store.delete_many(BUCKET, ["a", "b", "c", "d"], allow)
        assert {key: (fault.error_class, fault.code) for key, fault in failures.items()} == {
            "a": (ErrorClass.ENVIRONMENT, "AccessDenied"),
            "b": (ErrorClass.UNKNOWN, "InternalError"),
        }
        assert len(stub.requests) == 1


PAGE = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>Sign in</p></body></html>'


@pytest.mark.parametrize("body", [b"", PAGE, b"<DeleteResult/>"], ids=["empty", "page", "names no key"])
def test_a_bulk_delete_that_something_else_than_s3_answered_is_not_done(engine: Engine, body: bytes) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(reply(200, body))
        with pytest.raises(StoreFault) as caught:
            store.delete_many(BUCKET, ["a", "b"], allow)
    fault = caught.value
    assert (fault.error_class, fault.code, fault.http_status) == (ErrorClass.UNKNOWN, "UnreadableResponse", 200)
    assert len(stub.requests) == 1


@pytest.mark.parametrize("status", [200, 202])
def test_a_single_delete_that_something_else_than_s3_answered_is_not_done(engine: Engine, status: int) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(reply(204), reply(status, PAGE), reply(204))
        failures = store.delete_many(BUCKET, ["/a", "/b", "/c"], allow)
    assert {key: (fault.error_class, fault.code, fault.http_status) for key, fault in failures.items()} == {
        "/b": (ErrorClass.UNKNOWN, "UnreadableResponse", status)
    }


def test_only_what_the_answer_to_a_bulk_delete_names_is_gone(engine: Engine) -> None:
    """The failure of ``e\u0301`` comes under a composed name, which nobody asked to delete."""
    body = (
        "<DeleteResult><Deleted><Key>a</Key></Deleted><Deleted/>"
        "<Error><Key>\u00e9</Key><Code>AccessDenied</Code></Error><Error><Code>InternalError</Code></Error></DeleteResult>"
    )
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(reply(200, body.encode()))
        failures = store.delete_many(BUCKET, ["a", "e\u0301", "left out"], allow)
    assert {key: (fault.error_class, fault.code) for key, fault in failures.items()} == {
        "e\u0301": (ErrorClass.UNKNOWN, "UnreadableResponse"),
        "left out": (ErrorClass.UNKNOWN, "UnreadableResponse"),
    }


def test_keys_that_a_store_may_name_otherwise_are_not_deleted_in_bulk(engine: Engine) -> None:
    alone = ["carriage\rreturn", "/lead", "control\x0b"]
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(deleted("a/b", "line\nbreak\t"), *[reply(204)] * len(alone))
        assert store.delete_many(BUCKET, [*alone, "a/b", "line\nbreak\t"], allow) == {}
    assert [recorded.method for recorded in stub.requests] == ["POST", *["DELETE"] * len(alone)]
    assert [unquote(recorded.target) for recorded in stub.requests[1:]] == [f"/{BUCKET}/{key}" for key in alone]


def test_one_bad_key_does_not_fail_its_neighbours_in_a_bulk_delete(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(error(400, "MalformedXML"), reply(204), error(400, "InvalidURI"), reply(204))
        failures = store.delete_many(BUCKET, ["a", "bad", "c"], allow)
        assert {key: fault.code for key, fault in failures.items()} == {"bad": "InvalidURI"}
        assert [request.method for request in stub.requests] == ["POST", "DELETE", "DELETE", "DELETE"]


def test_a_read_that_is_denied_is_not_a_missing_object(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(reply(403), error(403, "AccessDenied"), reply(500))
        with pytest.raises(StoreFault) as head:
            store.head(BUCKET, "k")
        with pytest.raises(StoreFault) as get:
            store.get(BUCKET, "k")
        assert (head.value.error_class, get.value.error_class) == (ErrorClass.ENVIRONMENT, ErrorClass.ENVIRONMENT)
        with pytest.raises(StoreFault, match="unknown"):
            store.head(BUCKET, "k")


def test_a_body_that_is_cut_short_is_not_returned(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(raw(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 99\r\n\r\nhalf'))
        with pytest.raises(StoreFault) as caught:
            store.get(BUCKET, "k")
        assert (caught.value.error_class, caught.value.code) == (ErrorClass.UNKNOWN, "TruncatedResponse")


def test_a_look_at_somebody_elses_object_bears_whatever_headers_it_has(engine: Engine) -> None:
    """One without a date, with metadata that is no ASCII: a guard must not look at it for ever."""
    headers = {"ETag": '"1"', "x-amz-meta-name": "\xfc\xff", "Content-Encoding": "gzip"}
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.default = reply(200, b"", **headers)
        found = store.head(BUCKET, "key")
    assert found is not None
    assert (found.seq, found.content_encoding) == (None, "gzip")


def test_a_look_that_something_else_than_s3_answered_finds_no_object(engine: Engine) -> None:
    page = reply(200, PAGE, Last_Modified="Sun, 01 Nov 2026 12:00:00 GMT", Content_Type="text/html")
    headers_of_page = Answer(page.raw.removesuffix(PAGE))
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.default = headers_of_page
        with pytest.raises(StoreFault) as head:
            store.head(BUCKET, "k")
        stub.default = page
        with pytest.raises(StoreFault) as get:
            store.get(BUCKET, "k")
    for caught in (head, get):
        assert (caught.value.error_class, caught.value.code) == (ErrorClass.UNKNOWN, "UnreadableResponse")


def test_a_look_tells_number_encoding_and_type(engine: Engine) -> None:
    headers = {"ETag": '"1"', "Last-Modified": "Sun, 01 Nov 2026 12:00:00 GMT", "Content-Type": "text/plain"}
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.default = reply(200, b"", **headers, **{"x-amz-meta-penstock-seq": "17", "Content-Encoding": "zstd"})
        found = store.head(BUCKET, "key")
    assert found is not None
    assert (found.seq, found.content_encoding, found.content_type) == (17, "zstd", "text/plain")
    assert len(stub.requests) == 1
