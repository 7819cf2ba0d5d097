"""Credentials that change while a store is open."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock_worker.stores import Engine, ErrorClass, StoreFault
from penstock_worker.stores.boto import BotoStore
from penstock_worker.stores.credentials import EXPIRING_SECONDS, REFRESH_SECONDS, CredentialSource
from penstock_worker.stores.object_store import ObstoreStore
from tests.support.stores import (
    ENGINES,
    allow,
    config_for,
    fault_of_put,
    only_environment_credentials,
    opened,
    request,
)
from tests.support.stub_s3 import Answer, Recorded, StubS3, error

pytestmark = pytest.mark.integration


@pytest.fixture
def credentials_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The shared credentials file, as the only place where there are credentials."""
    only_environment_credentials(monkeypatch, tmp_path)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    path = tmp_path / "credentials"
    _write(path, "FIRST")
    return path


def _write(path: Path, access_key: str) -> None:
    path.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = secret\n")


def _answer(access_key: str, expires_at: datetime) -> str:
    """What a credential process prints."""
    return (
        f'{{"Version": 1, "AccessKeyId": "{access_key}", "SecretAccessKey": "s",'
        f' "SessionToken": "t", "Expiration": "{expires_at.isoformat()}"}}'
    )


def _access_key(recorded: Recorded) -> str:
    found = re.search(r"Credential=([^/]+)/", recorded.headers["authorization"])
    assert found is not None
    return found.group(1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_stale_credential_is_dropped_at_once(engine: Engine, code: str, credentials_file: Path) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        store.put(request("plain"), allow)
        store.put(request("/odd"), allow)
        _write(credentials_file, "SECOND")
        stub.script(error(400, code))
        fault = fault_of_put(store, request("plain"))
        assert (fault.error_class, fault.code) == (ErrorClass.ENVIRONMENT, code)
        # No retry inside: the queue's next attempt has the new one, by either engine.
        assert len(stub.requests) == 3
        store.put(request("plain"), allow)
        store.put(request("/odd"), allow)
        assert [_access_key(each) for each in stub.requests] == ["FIRST"] * 3 + ["SECOND"] * 2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_read_that_meets_a_stale_credential_drops_it_for_writes_too(engine: Engine, credentials_file: Path) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        store.put(request("plain"), allow)
        _write(credentials_file, "SECOND")
        stub.script(error(400, "ExpiredToken"))
        with pytest.raises(Exception, match="ExpiredToken"):
            store.get("the-bucket", "plain")
        store.put(request("plain"), allow)
        assert _access_key(stub.requests[-1]) == "SECOND"


@pytest.mark.parametrize("engine", ENGINES)
def test_another_fault_keeps_the_credential(engine: Engine, credentials_file: Path) -> None:
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        store.put(request(), allow)
        _write(credentials_file, "SECOND")
        stub.script(error(403, "AccessDenied"))
        fault_of_put(store, request())
        store.put(request(), allow)
        assert _access_key(stub.requests[-1]) == "FIRST"


@pytest.mark.parametrize("key", ["plain", "/odd"])
@pytest.mark.parametrize("engine", ENGINES)
def test_missing_credentials_are_an_environment_fault_and_nothing_is_sent(
    engine: Engine, key: str, credentials_file: Path
) -> None:
    credentials_file.unlink()
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        fault = fault_of_put(store, request(key))
        assert (fault.error_class, fault.code, fault.http_status) == (
            ErrorClass.ENVIRONMENT,
            "NoCredentials",
            None,
        )
        assert stub.requests == []
        # They may come later, without a restart.
        _write(credentials_file, "LATER")
        store.put(request(key), allow)
        assert _access_key(stub.requests[-1]) == "LATER"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_credential_process_that_fails_is_an_environment_fault_without_its_words(
    engine: Engine, credentials_file: Path
) -> None:
    credentials_file.unlink()
    config = credentials_file.with_name("config")
    config.write_text("[default]\ncredential_process = sh -c 'echo secret-words >&2; exit 1'\n")
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        fault = fault_of_put(store, request())
        assert (fault.error_class, fault.code) == (ErrorClass.ENVIRONMENT, "CredentialsFailed")
        assert "secret-words" not in str(fault)
        assert stub.requests == []


@pytest.mark.parametrize(
    ("process", "cause"),
    [
        ("/nowhere/process", "FileNotFoundError"),
        ("{directory}", "PermissionError"),
        ("echo secret-words", "JSONDecodeError"),
        ("cat {expired}", "RuntimeError"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_chain_lets_out_is_an_environment_fault_and_not_quoted(
    engine: Engine, process: str, cause: str, credentials_file: Path
) -> None:
    credentials_file.unlink()
    expired = credentials_file.with_name("expired.json")
    expired.write_text(_answer("secret-words", datetime.now(UTC) - timedelta(hours=1)))
    command = process.format(directory=credentials_file.parent, expired=expired)
    credentials_file.with_name("config").write_text(f"[default]\ncredential_process = {command}\n")
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        fault = fault_of_put(store, request())
        assert (fault.error_class, fault.code) == (ErrorClass.ENVIRONMENT, "CredentialsFailed")
        assert cause in fault.message
        assert "secret-words" not in str(fault)
        with pytest.raises(StoreFault, match="CredentialsFailed"):
            store.head("the-bucket", "key")
        assert stub.requests == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_token_file_that_is_not_there_is_an_environment_fault(
    engine: Engine, credentials_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials_file.unlink()
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/worker")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(credentials_file.with_name("token")))
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        fault = fault_of_put(store, request())
        assert (fault.error_class, fault.code) == (ErrorClass.ENVIRONMENT, "CredentialsFailed")
        assert "FileNotFoundError" in fault.message


def test_the_chain_is_asked_again_after_a_minute(credentials_file: Path) -> None:
    clock = Clock()
    source = CredentialSource(clock)
    assert source.current().access_key == "FIRST"
    _write(credentials_file, "SECOND")
    clock.now += REFRESH_SECONDS - 1
    assert source.current().access_key == "FIRST"
    clock.now += 1
    assert source.current().access_key == "SECOND"


def test_a_batch_that_fails_as_a_whole_drops_once(credentials_file: Path) -> None:
    source = CredentialSource()
    source.current()
    generation = source.generation
    source.drop(generation)
    _write(credentials_file, "SECOND")
    assert source.current().access_key == "SECOND"
    _write(credentials_file, "THIRD")
    source.drop(generation)  # by a request that was signed before the first drop
    assert source.current().access_key == "SECOND"
    assert source.generation == generation + 1


def test_obstore_is_told_the_expiry_of_what_is_held(credentials_file: Path) -> None:
    before = datetime.now(UTC)
    credential = CredentialSource().for_obstore()
    after = datetime.now(UTC)
    assert (credential["access_key_id"], credential["secret_access_key"]) == ("FIRST", "secret")
    assert credential.get("token") is None
    expires_at = credential["expires_at"]
    assert expires_at is not None
    assert before <= expires_at - timedelta(seconds=REFRESH_SECONDS) <= after


def test_credentials_about_to_end_are_asked_for_again_soon(credentials_file: Path) -> None:
    credentials_file.unlink()
    state = credentials_file.with_name("state.json")
    config = credentials_file.with_name("config")
    config.write_text(f"[default]\ncredential_process = cat {state}\n")
    clock = Clock()
    source = CredentialSource(clock)

    def provide(access_key: str, lifetime: timedelta) -> None:
        state.write_text(_answer(access_key, datetime.now(UTC) + lifetime))

    provide("ENDING", timedelta(seconds=REFRESH_SECONDS / 2))
    assert source.current().access_key == "ENDING"
    provide("NEXT", timedelta(hours=1))
    clock.now += EXPIRING_SECONDS
    assert source.current() == ("NEXT", "s", "t", None)
    # A refreshable credential is botocore's to refresh: it is not fetched again each minute.
    provide("UNASKED", timedelta(hours=1))
    clock.now += 10 * REFRESH_SECONDS
    assert source.current().access_key == "NEXT"


@pytest.mark.parametrize("make", [ObstoreStore, BotoStore])
def test_credentials_are_fetched_before_the_lease_is_checked(
    make: type[ObstoreStore] | type[BotoStore], credentials_file: Path
) -> None:
    """A role or a process may take long to answer: the lease must be looked at after that."""
    log = credentials_file.with_name("log")
    credentials_file.unlink()
    process = credentials_file.with_name("process.sh")
    process.write_text(f'echo fetched >> {log}; echo \'{{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s"}}\'')
    credentials_file.with_name("config").write_text(f"[default]\ncredential_process = sh {process}\n")
    clock = Clock()
    fetched: list[int] = []

    def look() -> None:
        fetched.append(log.read_text().count("fetched"))

    with StubS3() as stub, closing(make(config_for(stub.endpoint_url), CredentialSource(clock))) as store:
        for _ in range(2):
            stub.script(Answer(raw=stub.default.raw, meanwhile=look))
            store.put(request(), look)
            clock.now += REFRESH_SECONDS
    # By the check and by the server, for each of the two.
    assert fetched == [1, 1, 2, 2]
