"""Section 5 of the design against a server that misbehaves: both engines call a fault by the same name."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock_worker.stores import Engine, ErrorClass, StoreFault, boto, object_store
from tests.support.stores import (
    ENGINES,
    SHORT_LIMIT,
    allow,
    config_for,
    fault_of_put,
    only_environment_credentials,
    opened,
    request,
)
from tests.support.stub_s3 import Answer, StubS3, closed_port, error, raw, reply, reset, stall

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("engine", ENGINES)]

THROTTLE, TRANSIENT, UNKNOWN, ENVIRONMENT, PERMANENT = ErrorClass


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_environment_credentials(monkeypatch, tmp_path)


ANSWERED = [
    (503, "SlowDown", THROTTLE),
    (503, "RequestLimitExceeded", THROTTLE),
    (429, "TooManyRequests", THROTTLE),
    (400, "ThrottlingException", THROTTLE),
    (409, "ConditionalRequestConflict", TRANSIENT),
    (409, "OperationAborted", TRANSIENT),
    (400, "BadDigest", TRANSIENT),
    (400, "RequestTimeout", TRANSIENT),
    (500, "InternalError", UNKNOWN),
    (502, "BadGateway", UNKNOWN),
    (503, "ServiceUnavailable", UNKNOWN),
    (504, "GatewayTimeout", UNKNOWN),
    (403, "AccessDenied", ENVIRONMENT),
    (404, "NoSuchBucket", ENVIRONMENT),
    (403, "InvalidAccessKeyId", ENVIRONMENT),
    (403, "SignatureDoesNotMatch", ENVIRONMENT),
    (400, "ExpiredToken", ENVIRONMENT),
    (400, "KMS.DisabledException", ENVIRONMENT),
    (400, "KMS.SomethingNew", ENVIRONMENT),
    (403, "RequestTimeTooSkewed", ENVIRONMENT),
    (400, "AuthorizationHeaderMalformed", ENVIRONMENT),
    (401, "SomethingNew", ENVIRONMENT),
    (501, "NotImplemented", ENVIRONMENT),
    (400, "KeyTooLongError", PERMANENT),
    (400, "InvalidTag", PERMANENT),
    (400, "EntityTooLarge", PERMANENT),
    (400, "InvalidArgument", PERMANENT),
    (400, "SomethingNew", PERMANENT),
    (500, "SomethingNew", UNKNOWN),
]


def test_an_answer_with_a_code_has_its_class_code_and_status_and_is_not_retried(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for status, code, error_class in ANSWERED:
            stub.script(error(status, code, message="tom & jerry"))
            fault = fault_of_put(store, request())
            assert (fault.error_class, fault.code, fault.http_status) == (error_class, code, status)
            assert fault.message == "tom & jerry"
        assert len(stub.requests) == len(ANSWERED)


BARE = [
    (301, "PermanentRedirect", ENVIRONMENT),
    (400, "NoCode", ENVIRONMENT),
    (403, "NoCode", ENVIRONMENT),
    (404, "NoCode", ENVIRONMENT),
    (408, "NoCode", TRANSIENT),
    (409, "NoCode", TRANSIENT),
    (413, "NoCode", PERMANENT),
    (429, "NoCode", THROTTLE),
    (500, "NoCode", UNKNOWN),
    (503, "NoCode", UNKNOWN),
]


@pytest.mark.parametrize("body", [b"", b"<html>what", b"<html><p>sorry</p></html>"])
def test_an_answer_without_a_code_is_classed_by_its_status(engine: Engine, body: bytes) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for status, code, error_class in BARE:
            stub.script(reply(status, body))
            fault = fault_of_put(store, request())
            assert (fault.error_class, fault.code, fault.http_status) == (error_class, code, status)
        assert len(stub.requests) == len(BARE)


def test_a_redirect_is_an_environment_fault_and_not_followed(engine: Engine) -> None:
    with StubS3() as stub, StubS3() as elsewhere, opened(engine, config_for(stub.endpoint_url)) as store:
        answers = [
            (error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"), "PermanentRedirect", 301),
            (error(301, "PermanentRedirect", Location=elsewhere.endpoint_url), "PermanentRedirect", 301),
            (error(307, "TemporaryRedirect", Location=elsewhere.endpoint_url), "TemporaryRedirect", 307),
        ]
        for answer, code, status in answers:
            stub.script(answer)
            fault = fault_of_put(store, request())
            assert (fault.error_class, fault.code, fault.http_status) == (ENVIRONMENT, code, status)
        assert len(stub.requests) == len(answers)
        assert elsewhere.requests == []


BROKEN = [
    (reset(), "ConnectionReset", None),
    (raw(b""), "ConnectionReset", None),
    (raw(b"this is no HTTP\r\n\r\n"), "UnreadableResponse", None),
    (reply(200), "UnreadableResponse", 200),
]


def test_a_broken_answer_leaves_the_outcome_unknown(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for answer, code, status in BROKEN:
            stub.script(answer)
            fault = fault_of_put(store, request())
            assert (fault.error_class, fault.code, fault.http_status) == (UNKNOWN, code, status)
        assert len(stub.requests) == len(BROKEN)


@pytest.mark.parametrize(
    "answer",
    [
        raw(b"HTTP/1.1 200 OK\r\nETa"),
        raw(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 999\r\n\r\n<Error><Code>SlowDown</Co"),
        reply(200, b"<html>captive portal</html>"),
    ],
    ids=["in the headers", "in the body", "not by S3"],
)
def test_an_answer_cut_short_leaves_the_outcome_unknown(engine: Engine, answer: Answer) -> None:
    # The engines see different ends of these, so the codes differ; the class must not.
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(answer)
        assert fault_of_put(store, request()).error_class == UNKNOWN
        assert len(stub.requests) == 1


def test_no_answer_within_the_time_limit_leaves_the_outcome_unknown(engine: Engine) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url, request_timeout=SHORT_LIMIT)) as store:
        stub.default = stall()
        fault = fault_of_put(store, request())
        assert (fault.error_class, fault.code, fault.http_status) == (UNKNOWN, "Timeout", None)
        assert len(stub.requests) == 1


def test_a_refused_connection_is_transient(engine: Engine) -> None:
    with opened(engine, config_for(f"http://127.0.0.1:{closed_port()}")) as store:
        fault = fault_of_put(store, request())
    assert (fault.error_class, fault.code, fault.http_status) == (TRANSIENT, "ConnectFailed", None)
    assert "Connection refused" in fault.message


def test_an_unknown_host_is_transient(engine: Engine) -> None:
    with opened(engine, config_for("http://nowhere.invalid")) as store:
        fault = fault_of_put(store, request())
    assert (fault.error_class, fault.code, fault.http_status) == (TRANSIENT, "ConnectFailed", None)


@contextmanager
def _deaf_port() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue of waiting connections is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_connection_that_is_never_made_is_transient(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (boto, object_store):
        monkeypatch.setattr(module, "CONNECT_SECONDS", SHORT_LIMIT)
    with _deaf_port() as port, opened(engine, config_for(f"http://127.0.0.1:{port}")) as store:
        fault = fault_of_put(store, request())
    assert (fault.error_class, fault.code, fault.http_status) == (TRANSIENT, "ConnectFailed", None)


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1 that nobody has signed, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime.now(UTC) - timedelta(days=1))
    builder = builder.not_valid_after(datetime.now(UTC) + timedelta(days=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    encoding = serialization.Encoding.PEM
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(encoding))
    private.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return context, certificate


def test_a_certificate_is_verified_with_the_bundle_of_the_environment(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context, certificate = _certificate(tmp_path)
    with StubS3(context) as stub:
        with opened(engine, config_for(stub.endpoint_url)) as store:
            fault = fault_of_put(store, request())
        assert (fault.error_class, fault.code, fault.http_status) == (ENVIRONMENT, "CertificateRefused", None)
        assert stub.requests == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        with opened(engine, config_for(stub.endpoint_url)) as store:
            store.put(request(), allow)
        assert len(stub.requests) == 1


@pytest.mark.parametrize(
    "bundle", [None, b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"]
)
def test_a_bundle_that_cannot_be_used_is_an_environment_fault(
    engine: Engine, bundle: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "authorities.pem"
    if bundle is not None:
        path.write_bytes(bundle)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    with StubS3() as stub:
        with opened(engine, config_for(stub.endpoint_url.replace("http:", "https:"))) as store:
            fault = fault_of_put(store, request())
            assert (fault.error_class, fault.code) == (ENVIRONMENT, "InvalidSetting")
            assert "AWS_CA_BUNDLE" in fault.message
        assert stub.requests == []


def test_a_message_is_short_and_quotes_nothing_but_the_message_of_s3(engine: Engine) -> None:
    secret = "AKIA-and-the-token"
    body = (
        f"<Error><Code>SignatureDoesNotMatch</Code><Message>{'long ' * 200}</Message>"
        f"<AWSAccessKeyId>{secret}</AWSAccessKeyId><CanonicalRequest>{secret}</CanonicalRequest></Error>"
    )
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(reply(403, body.encode(), Content_Type="application/xml"))
        with pytest.raises(StoreFault) as caught:
            store.put(request(), allow)
    assert caught.value.code == "SignatureDoesNotMatch"
    assert len(caught.value.message) == 500
    # Nor by way of a traceback's chain.
    chained = caught.value.__cause__ or (None if caught.value.__suppress_context__ else caught.value.__context__)
    assert chained is None
    assert secret not in str(caught.value)


def test_a_key_that_reads_like_an_answer_does_not_pass_for_one(engine: Engine) -> None:
    key = "x - Server returned non-2xx status code: 503 Slow: <Code>SlowDown</Code>"
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        stub.script(error(403, "AccessDenied"))
        fault = fault_of_put(store, request(key))
    assert (fault.error_class, fault.code, fault.http_status) == (ENVIRONMENT, "AccessDenied", 403)
