"""A credential process that does not answer: nobody waits for it for ever, and nobody starts another."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import CredentialRetrievalError

from penstock_worker.stores import Engine, ErrorClass, StoreFault, credentials
from penstock_worker.stores.credentials import REFRESH_SECONDS, CredentialSource, _Look
from tests.support.stores import (
    ENGINES,
    allow,
    config_for,
    fault_of_put,
    only_environment_credentials,
    opened,
    request,
)
from tests.support.stub_s3 import StubS3
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

PROMPT = 10.0  # seconds: for what happens at once on a machine that is not loaded
CALLERS = 4


class Process:
    """The only place where there are credentials: it hangs while ``hang`` is there, until `answer`."""

    def __init__(self, directory: Path) -> None:
        self._log, self._hang, self._pipe = (directory / name for name in ("log", "hang", "pipe"))
        self._given = directory / "given.json"
        os.mkfifo(self._pipe)
        script = directory / "process.sh"
        script.write_text(
            f"echo started >> {self._log}\n[ -e {self._hang} ] && exec cat {self._pipe}\ncat {self._given}\n"
        )
        (directory / "config").write_text(f"[default]\ncredential_process = sh {script}\n")

    def give(self, access_key: str, lifetime: timedelta | None = None) -> None:
        self._given.write_text(_printed(access_key, lifetime))

    def hang(self) -> None:
        self._hang.touch()

    def answer(self, access_key: str) -> None:
        """Of the one that hangs. Later ones hang too."""
        wait_until(lambda: self._try_answer(_printed(access_key)), PROMPT, "the process reads")

    def end(self) -> None:
        pipe = os.open(self._pipe, os.O_RDWR)  # who reads is woken, and who comes later finds no pipe
        self._pipe.unlink()
        os.close(pipe)

    def _try_answer(self, text: str) -> bool:
        try:
            pipe = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads
            return False
        with os.fdopen(pipe, "w") as file:
            file.write(text)
        return True

    @property
    def started(self) -> int:
        return self._log.read_text().count("started")


def _printed(access_key: str, lifetime: timedelta | None = None) -> str:
    ends = f', "Expiration": "{(datetime.now(UTC) + lifetime).isoformat()}"' if lifetime else ""
    return f'{{"Version": 1, "AccessKeyId": "{access_key}", "SecretAccessKey": "s", "SessionToken": "t"{ends}}}'


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Process]:
    only_environment_credentials(monkeypatch, tmp_path)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    process = Process(tmp_path)
    try:
        yield process
    finally:
        process.end()


def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nobody waits long: only for processes that hang."""
    monkeypatch.setattr(credentials, "LOOK_UP_SECONDS", 0.2)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_process_that_hangs_is_an_environment_fault_until_it_answers(
    engine: Engine, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.hang()
    _soon(monkeypatch)
    with StubS3() as stub, opened(engine, config_for(stub.endpoint_url)) as store:
        for _ in range(3):
            fault = fault_of_put(store, request())
            assert (fault.error_class, fault.code) == (ErrorClass.ENVIRONMENT, "CredentialsFailed")
            assert "TimeoutError" in fault.message
        assert stub.requests == []
        process.answer("LATE")
        assert process.started == 1

        def is_stored() -> bool:
            with suppress(StoreFault):
                store.put(request(), allow)
            return bool(stub.requests)

        wait_until(is_stored, PROMPT, "the late answer is used")
        assert "Credential=LATE/" in stub.requests[0].headers["authorization"]
        assert process.started == 1


def test_all_who_want_credentials_wait_for_one_process(process: Process) -> None:
    process.hang()
    source = CredentialSource()
    found: list[str | None] = []
    callers = [
        threading.Thread(target=lambda: found.append(source.current().access_key), daemon=True) for _ in range(CALLERS)
    ]
    for caller in callers:
        caller.start()
    process.answer("ONE")
    for caller in callers:
        caller.join(PROMPT)
    assert found == ["ONE"] * CALLERS
    assert process.started == 1


@pytest.mark.parametrize("lifetime", [None, timedelta(minutes=2)])
def test_credentials_that_have_not_ended_are_used_while_a_process_hangs(
    lifetime: timedelta | None, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.give("VALID", lifetime)
    now = 1000.0
    source = CredentialSource(lambda: now)
    source.current()
    process.hang()
    monkeypatch.setattr(credentials, "HELD_SECONDS", 0.1)
    monkeypatch.setattr(credentials, "LOOK_UP_SECONDS", 3600.0)  # nobody waits so long for what he need not wait for
    for _ in range(3):
        now += REFRESH_SECONDS
        assert source.current().access_key == "VALID"
    source.drop(source.generation)  # S3 knows better
    monkeypatch.setattr(_Look, "left", lambda look: 0.1)
    with pytest.raises(CredentialRetrievalError):
        source.current()


def test_where_no_thread_can_be_started_there_are_no_credentials_for_now(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.give("LATER")
    source = CredentialSource()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(CredentialRetrievalError):
            source.current()
    assert source.current().access_key == "LATER"


def test_credentials_that_end_are_not_used_while_a_process_hangs(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.give("ENDING", timedelta(minutes=2))
    monkeypatch.setattr(credentials, "EXPIRING_SECONDS", 300.0)
    now = 1000.0
    source = CredentialSource(lambda: now)
    source.current()
    process.hang()
    _soon(monkeypatch)
    now += REFRESH_SECONDS
    with pytest.raises(CredentialRetrievalError):
        source.current()


def test_an_answer_from_before_a_drop_is_not_kept(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    process.hang()
    _soon(monkeypatch)
    source = CredentialSource()
    with pytest.raises(CredentialRetrievalError):
        source.current()
    source.drop(source.generation)
    process.answer("OLD")
    # The next look-up is one of its own, which hangs too.
    wait_until(lambda: _tried(source) is None and process.started == 2, PROMPT, "another process is started")
    process.answer("NEW")
    assert wait_until(lambda: _tried(source), PROMPT, "the new answer is used") == "NEW"


def _tried(source: CredentialSource) -> str | None:
    try:
        return source.current().access_key
    except CredentialRetrievalError:
        return None
