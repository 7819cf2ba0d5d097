"""Every bad flag and every bad value of every command: exit status 2, one line on stderr, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.results import Outcome, Settlement
from penstock_worker.cli.alerts import ThresholdType
from penstock_worker.cli.configure import SizeType
from penstock_worker.cli.dead_pick import AgeType
from tests.support.in_process import Cli, leaves

pytestmark = pytest.mark.integration

# Values that a type of option must refuse. What takes any text has its own lines in WRONG_USE.
_BAD: dict[type, tuple[str, ...]] = {
    click.Choice: ("nonsense", ""),
    click.IntRange: ("x", "", "1.5", "-1"),
    click.FloatRange: ("x", "-1"),
    SizeType: ("x", "", "0", "-1", "9999999GiB"),
    AgeType: ("x", "", "7", "-7d", "7w"),
    ThresholdType: ("", " ", "-1", "nan", "inf", "5w", "{{braces}}", 'quo"te'),
}
_GOOD = {"key": "key", "keys": "key", "file": "{file}", "--priority": "high"}
"""What a command needs beside the bad value, by the parameter's name."""


def _required(command: click.Command, but: click.Parameter | None = None) -> Iterator[str]:
    for parameter in command.params:
        if parameter.required and parameter is not but:
            option = parameter.opts[0]
            yield from (option, _GOOD[option]) if option.startswith("-") else (_GOOD[option],)


def _generated() -> Iterator[list[str]]:
    for path, command in leaves():
        yield [*path, *_required(command), "--nonsense"]
        if not any(parameter.nargs == -1 for parameter in command.params):
            yield [*path, *_required(command), "one-argument-too-many"]
        for parameter in command.params:
            if parameter.required:
                yield [*path, *_required(command, parameter)]
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                option, rest = parameter.opts[0], list(_required(command, parameter))
                yield [*path, *rest, option]  # without its value
                for value in _BAD.get(type(parameter.type), ()):
                    yield [*path, *rest, f"{option}={value}"]


WRONG_USE = [
    "nonsense", "queue nonsense", "dead nonsense", "queue list --limit=0", "queue list --cursor=nonsense",
    "queue peek key --bytes=0", "queue peek key --bytes=99999999", "audit --limit=0", "audit --limit=10001",
    "dead list --limit=0", "queue configure --items=0", "queue configure --dead-bytes=1",
    "queue pause --tenant=t", "queue resume --tenant=t", "queue pause --bucket=a/b", "queue resume --bucket=a/b",
    "queue pause --bucket=", "queue purge --yes", "queue purge --all --tenant=t --yes",
    "queue purge --state=inflight --yes", "dead retry", "dead retry --all key", "dead retry key --code=X",
    "dead retry key --tenant=t", "dead retry key --older-than=1d", "dead purge --yes", "dead purge --all key --yes",
    "dead purge key --code=X --yes", "dead export {file}", "dead export {directory}", "dead export {directory}/no/file",
    "dead import {file}", "dead import {directory}/no-such-file", "dead import {directory}",
    "put key {directory}/no-such-file", "put key {directory}", "put key {file} --tag=x", "put key {file} --metadata=x",
    "put key {file} --tag=aws:x=y", "put key {file} --bucket=Not_A_Bucket", "put key {file} --content-type=ü",
    "put key {file} --tenant=" + "t" * 65, "demo --limit=0", "demo --dir={directory}/no-such-directory",
    "demo --dir={directory}/empty", "alerts render --output={directory}", "alerts render --output={directory}/no/file",
]  # fmt: skip


@pytest.fixture
def cli(env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Cli:
    return Cli(env, monkeypatch, capsysbinary)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"some text\n")
    return {"file": tmp_path / "file", "directory": tmp_path}


def _state(queue: Queue) -> dict[bytes, Any]:
    """All that the queue is, byte by byte; except the note that a command which began to read a file leaves."""
    client: Any = queue.client
    keys = client.keys(queue.prefix.replace("[", r"\[") + "*")
    return {key: client.dump(key) for key in keys if not key.endswith(b":audit")}


def _refused(cli: Cli, args: list[str], places: dict[str, Path], **variables: str | None) -> str:
    done = cli(*[arg.format(**places) for arg in args], **variables)
    assert done.status == 2, (args, done)
    assert done.out == b"", args
    lines = done.err.splitlines()
    assert len(lines) == 1, (args, done.err)
    assert lines[0].startswith("penstock: "), args
    return lines[0]


@pytest.fixture
def filled(producer: Producer, queue: Queue) -> Queue:
    producer.put("key", b"body")
    (batch,) = queue.claim(
        ["token"], lease=600, max_items=1, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
    ).batches
    queue.settle("token", [Settlement(batch.writes[0].name, Outcome.DEAD)], max_attempts=8)
    producer.put("key", b"body")
    return queue


def test_every_bad_flag_and_value_is_refused_in_one_line(cli: Cli, places: dict[str, Path], filled: Queue) -> None:
    before, cases = _state(filled), list(_generated())
    assert len(cases) > 150, "the walk through the commands finds too few"
    for args in cases:
        said = _refused(cli, args, places)
        if "=" in args[-1]:
            assert args[-1].partition("=")[0] in said, "it does not say which option"
    assert _state(filled) == before


def test_every_wrong_use_is_refused_in_one_line(cli: Cli, places: dict[str, Path], filled: Queue) -> None:
    before = _state(filled)
    for line in WRONG_USE:
        _refused(cli, line.split(" "), places)
    assert _state(filled) == before
    assert sorted(path.name for path in places["directory"].iterdir()) == ["empty", "file"], "a file was made"


def test_a_command_that_needs_a_bucket_and_has_none_says_so(cli: Cli, places: dict[str, Path], filled: Queue) -> None:
    for line in (
        "put key {file}", "get key", "queue show key", "queue peek key", "queue move key --priority low",
        "dead show key", "dead retry key", "dead purge key --yes",
    ):  # fmt: skip
        assert "PENSTOCK_BUCKET" in _refused(cli, line.split(), places, PENSTOCK_BUCKET=None)


def test_every_command_names_a_setting_that_is_wrong(cli: Cli, places: dict[str, Path], filled: Queue) -> None:
    wrong = {
        "PENSTOCK_BATCH_MAX_ITEMS": "many",
        "PENSTOCK_NO_SUCH_SETTING": "1",
        "PENSTOCK_REDIS_URL": "http://here",
        "PENSTOCK_CONFIG": "{directory}/no-such-file",
    }
    before = _state(filled)
    for path, command in leaves():
        if path in (("doctor",), ("demo",), ("alerts", "render")):
            continue  # the first makes a check of it, the others take no settings
        args = [*path, *_required(command)]
        if path == ("queue", "purge"):
            args += ["--all"]
        elif path[-1] in ("retry", "purge"):
            args += ["key"]
        elif path == ("dead", "export"):
            args = [*path, "{directory}/export"]
        for name, value in wrong.items():
            if path == ("get",) and name == "PENSTOCK_REDIS_URL":
                continue  # it reads S3 alone
            if path in (("worker",), ("exporter",)) and name == "PENSTOCK_REDIS_URL":
                continue  # run as processes in test_lifecycle and test_exporter
            if path[0] == "spool" and name == "PENSTOCK_REDIS_URL":
                continue  # they ask nothing of Redis while nothing is spooled
            variables = {"PENSTOCK_SPOOL": "{directory}/spool", name: value}
            said = _refused(cli, args, places, **{of: text.format(**places) for of, text in variables.items()})
            assert name in said, (args, said)
            assert not (places["directory"] / "export").exists(), "a file was made"
    assert _state(filled) == before
