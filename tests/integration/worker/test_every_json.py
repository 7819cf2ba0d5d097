"""Every command's --json against one running system: it parses, and has the members that are documented."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.results import Failure, Outcome, Settlement
from tests.support.in_process import Cli, leaves
from tests.support.memory_s3 import MemoryS3, Stored
from tests.support.worker import BUCKET, WorkerProcess

pytestmark = pytest.mark.integration

STATS = {
    *("queue", "paused", "writes", "bytes", "oldest_age_seconds", "limits", "set_aside", "blocks", "suspended"),
    *("log_level", "shards", "epoch_seconds_left"),
}
TOP = {
    *("at", "accepted_per_second", "coalesced_per_second", "rejected_per_second", "stored_per_second"),
    *("stored_bytes_per_second", "latency_seconds", "s3_errors", "flow_count", "flows", "workers", "dead_letters"),
}
ENTRY = {
    *("bucket", "key", "seq", "waiting_seq", "operation", "state", "priority", "tenant", "attempts", "size"),
    *("accepted_at", "due_at", "contested", "guard_looks_at", "last_error"),
}
BODY = {
    *("body_size", "sha256", "content_type", "cache_control", "content_disposition", "storage_class", "compression"),
    *("tags", "metadata", "traceparent"),
}
LETTER = {
    *("bucket", "key", "seq", "operation", "priority", "tenant", "attempts", "size", "accepted_at", "died_at"),
    *("error_class", "code", "http_status", "message", "imported"),
}
OBJECT = {
    *("bucket", "key", "seq", "intact", "sha256_put", "sha256_read", "problem", "body_size", "stored_size"),
    *("content_encoding", "content_type", "etag", "metadata"),
}
SPOOL = {"path", "writes", "bytes", "oldest_age_seconds", "replayed", "superseded", "aside"}
FAILURE = Failure("permanent", "InvalidTag", 400, "the tag is not valid")


@dataclass(frozen=True)
class Case:
    """One call: its arguments without --json, and what it prints: an object's members, or those of a list's entries."""

    args: tuple[str, ...]
    members: set[str]
    of_list: bool = False
    status: set[int] = field(default_factory=lambda: {0})


# In this order, because later ones change what earlier ones look at.
CASES = [
    Case(("doctor",), {"status", "checks"}, status={0, 1, 2}),
    Case(("top", "--once"), STATS | TOP),
    Case(("queue", "stats"), STATS),
    Case(("queue", "list"), ENTRY, of_list=True),
    Case(("queue", "list", "--state", "delayed", "--limit", "1"), ENTRY, of_list=True),
    Case(("queue", "list", "--limit", "1", "--cursor", ""), {"writes", "cursor"}),
    Case(("queue", "show", "ready"), ENTRY | BODY),
    Case(("queue", "show", "inflight"), ENTRY | BODY),
    Case(("queue", "drain", "--timeout", "0"), STATS, status={1}),
    Case(("queue", "pause", "--bucket", "other"), {"bucket", "tenant", "changed"}),
    Case(("queue", "resume", "--bucket", "other"), {"bucket", "tenant", "changed", "flows"}),
    Case(("queue", "configure", "--items", "1000"), {"limits", "held", "shards", "log_level", "warnings"}),
    Case(("queue", "move", "ready", "--priority", "low"), {"bucket", "key", "moved"}),
    Case(("queue", "purge", "--prefix", "ready", "--yes"), {"purged", "in_flight", "gone"}),
    Case(("dead", "list"), LETTER, of_list=True),
    Case(("dead", "show", "dead"), LETTER | BODY, of_list=True),
    Case(("dead", "export", "{file}"), {"exported"}),
    Case(("dead", "retry", "dead"), {"queued"}),
    Case(("dead", "purge", "--all", "--yes"), {"purged"}),
    Case(("dead", "import", "{file}"), {"imported", "left, because the write is in the queue"}),
    Case(("audit",), {"at", "who", "command", "what", "count", "error"}, of_list=True),
    Case(("alerts", "render"), {"groups"}),
    Case(("get", "an-object"), OBJECT),
    Case(("spool", "stats"), SPOOL),
    Case(("spool", "flush"), SPOOL),
    Case(("put", "key", "{file}"), {"seq", "coalesced", "spooled", "bucket", "key"}),
]

ELSEWHERE = {("demo",): "tests/integration/test_demo.py runs it with --json: it starts servers of its own"}


@pytest.fixture
def system(producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]) -> Queue:
    """A running worker, and a write of each state that it must leave alone."""

    def claimed(token: str, key: str) -> bytes:
        producer.put(key, b"body", priority="critical", tags={"a": "b"})
        (batch,) = queue.claim(
            [token], lease=600, max_items=1, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
        ).batches
        return batch.writes[0].name

    claimed("inflight", "inflight")
    for token, key, outcome in (
        ("1", "delayed", Outcome.RETRY), ("2", "dead", Outcome.DEAD), ("3", "dead-too", Outcome.DEAD),
    ):  # fmt: skip
        settlement = Settlement(claimed(token, key), outcome, delay=600, failure=FAILURE)
        queue.settle(token, [settlement], max_attempts=8)
    queue.run("block", BUCKET, "pause", "test@host")
    for number in range(3):
        producer.put(f"ready{number or ''}", b"body", traceparent=None)
    sink.objects[BUCKET, "an-object"] = Stored(b"body", {})
    start_worker()
    return queue


def test_every_commands_json_parses_and_has_its_members(
    system: Queue,
    env: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    cli = Cli({**env, "PENSTOCK_SPOOL": str(tmp_path / "spool")}, monkeypatch, capsysbinary)
    for case in CASES:
        args = [arg.format(file=tmp_path / "file") for arg in case.args]
        done = cli(*args, "--json")
        assert done.status in case.status, (case.args, done)
        printed: Any = json.loads(done.out)
        if case.of_list:
            assert isinstance(printed, list), case.args
            assert printed, f"{case.args} shows nothing, so this says nothing"
        for entry in printed if case.of_list else [printed]:
            assert entry.keys() == case.members, case.args
        assert not done.err, (case.args, done.err)


def test_no_command_with_json_is_forgotten() -> None:
    def covers(path: tuple[str, ...]) -> bool:
        return any(case.args[: len(path)] == path for case in CASES)

    with_json = {path for path, command in leaves() if any("--json" in option.opts for option in command.params)}
    assert {path for path in with_json if not covers(path)} == ELSEWHERE.keys()
    changing_or_showing = {path for path, _ in leaves()} - with_json
    without = {("worker",), ("exporter",), ("queue", "peek"), ("spool", "export")}
    assert changing_or_showing == without, "these print no state, or JSON anyway"
