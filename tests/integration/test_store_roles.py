"""What is said of the role that a worker takes, when its credentials are looked up, is not said of an object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock_worker.stores import Engine, ErrorClass, Store, StoreFault
from tests.support.stores import ENGINES, config_for, fault_of_put, only_environment_credentials, opened, request
from tests.support.stub_s3 import StubS3, closed_port, reply

pytestmark = pytest.mark.integration

ROLE = "arn:aws:iam::123456789012:role/worker"


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubS3]:
    """Gives the only credentials that there are, by a web identity token."""
    only_environment_credentials(monkeypatch, tmp_path)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    token = tmp_path / "token"
    token.write_text("a-token")
    with StubS3() as stub:
        for name, value in (
            ("AWS_ROLE_ARN", ROLE),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", str(token)),
            ("AWS_REGION", "us-east-1"),
            ("AWS_MAX_ATTEMPTS", "1"),
            ("AWS_ENDPOINT_URL_STS", stub.endpoint_url),
        ):
            monkeypatch.setenv(name, value)
        yield stub


@pytest.fixture
def s3() -> Iterator[StubS3]:
    with StubS3() as stub:
        yield stub


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, sts: StubS3, s3: StubS3) -> Iterator[Store]:
    engine: Engine = request.param
    with opened(engine, config_for(s3.endpoint_url)) as made:
        yield made


@pytest.mark.parametrize(
    ("role", "answer", "cause"),
    [
        (ROLE, "InvalidIdentityToken", "InvalidIdentityTokenException"),
        (ROLE, "ServiceUnavailable", "ClientError"),
        ("no-arn", None, "ParamValidationError"),
        (ROLE, None, "EndpointConnectionError"),
    ],
)
def test_what_is_said_of_a_role_is_not_said_of_a_write(
    role: str, answer: str | None, cause: str, store: Store, sts: StubS3, s3: StubS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", role)
    if answer is None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{closed_port()}")
    sts.script(reply(400, f"<R><Error><Code>{answer}</Code><Message>no</Message></Error></R>".encode()))
    fault = fault_of_put(store, request())
    assert (fault.error_class, fault.code) == (ErrorClass.ENVIRONMENT, "CredentialsFailed")
    assert cause in fault.message
    assert s3.requests == []


@pytest.mark.parametrize("code", ["404", "NotFound", "NoSuchKey", "ResourceNotFoundException"])
@pytest.mark.parametrize("key", ["plain", "dir//key"])  # of the second one boto3 takes care in both engines
def test_a_role_that_is_not_found_is_not_an_object_that_is_not_there(
    key: str, code: str, store: Store, sts: StubS3, s3: StubS3
) -> None:
    """Where a look says "not there" and S3 was not asked, an old write would win."""
    said = reply(404, f"<R><Error><Code>{code}</Code><Message>no</Message></Error></R>".encode())
    for call in (store.head, store.get):
        sts.script(said)
        with pytest.raises(StoreFault) as caught:
            call("bucket", key)
        assert (caught.value.error_class, caught.value.http_status) == (ErrorClass.ENVIRONMENT, None)
    sts.script(said)
    try:
        told = store.delete_many("bucket", [key], lambda: None)[key]
    except StoreFault as fault:
        told = fault
    assert told.error_class is ErrorClass.ENVIRONMENT
    assert s3.requests == []
