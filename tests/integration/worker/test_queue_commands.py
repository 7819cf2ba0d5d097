"""The commands that hold up, change and look into the queue, as processes, against a real Redis and real workers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import pytest

from penstock import Producer
from penstock.errors import QueueFull
from penstock.queue.client import Queue
from penstock.queue.results import Outcome, Settlement
from tests.support.commands import printed, refused
from tests.support.memory_s3 import MemoryS3
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, run_command, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_paused_tenant_s_writes_wait_while_the_others_are_uploaded_and_go_out_when_it_is_resumed(
    env: Mapping[str, str],
    producer: Producer,
    queue: Queue,
    sink: MemoryS3,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    which = ("--bucket", BUCKET, "--tenant", "held")
    assert printed("queue", "pause", *which, env=env) == {"bucket": BUCKET, "tenant": "held", "changed": True}
    assert printed("queue", "pause", *which, env=env)["changed"] is False
    for number in range(40):
        producer.put(f"held-{number}", b"body", tenant="held", priority="critical")
        producer.put(f"free-{number}", b"body")
    start_worker()
    wait_until(lambda: len(sink.objects) == 40, LIMIT, "all that is not held up is stored")
    wait_until(lambda: queue.stats().set_aside == 40, LIMIT, "the tenant is set aside")
    assert {key for _, key in sink.objects} == {f"free-{number}" for number in range(40)}
    (block,) = printed("queue", "stats", env=env)["blocks"]
    assert datetime.fromisoformat(block.pop("since")).utcoffset() is not None
    assert "@" in block.pop("note")
    assert block == {"bucket": BUCKET, "tenant": "held", "reason": "pause"}
    assert (
        f"held up: tenant 'held' of bucket {BUCKET} (pause by ".encode()
        in run_command("queue", "stats", env=env).stdout
    )
    assert printed("queue", "resume", *which, env=env) == {
        "bucket": BUCKET, "tenant": "held", "changed": True, "flows": 1,
    }  # fmt: skip
    wait_until_drained(queue)
    assert len(sink.objects) == 80
    assert printed("queue", "stats", env=env)["blocks"] == []


def test_a_paused_queue_uploads_nothing_until_it_is_resumed(
    env: Mapping[str, str],
    producer: Producer,
    queue: Queue,
    sink: MemoryS3,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    assert b"the whole queue is paused" in run_command("queue", "pause", env=env).stdout
    producer.put("key", b"body", priority="critical")
    start_worker()
    assert printed("queue", "drain", "--timeout", "1", env=env, status=1)["paused"] is True
    assert not sink.objects
    run_command("queue", "pause", "--bucket", BUCKET, env=env)
    said = run_command("queue", "resume", env=env).stdout.decode()
    assert "the whole queue goes on" in said
    assert run_command("queue", "resume", "--bucket", BUCKET, env=env).returncode == 0
    wait_until_drained(queue)
    assert sink.objects[BUCKET, "key"].body == b"body"
    assert b"was not paused" in run_command("queue", "resume", env=env).stdout


def test_a_tenant_is_paused_in_a_bucket_only(env: Mapping[str, str]) -> None:
    for command in ("pause", "resume"):
        assert "--tenant needs --bucket" in refused("queue", command, "--tenant", "t", env=env, status=2)


def test_configure_shows_the_limits_and_changes_those_that_are_given(
    env: Mapping[str, str], producer: Producer
) -> None:
    defaults = {"items": 1_000_000, "bytes": 1024**3, "dead_bytes": 256 * 1024**2}
    assert printed("queue", "configure", env=env)["limits"] == defaults
    changed = printed("queue", "configure", "--items", "7", "--bytes", "2GiB", env=env)
    assert changed == {
        "limits": {**defaults, "items": 7, "bytes": 2 * 1024**3},
        "held": {"items": 0, "bytes": 0, "dead_bytes": 0},
        "shards": 1,
        "log_level": None,
        "warnings": [],
    }
    for number in range(7):
        producer.put(f"{number}", b"body")
    with pytest.raises(QueueFull):
        producer.put("one more", b"body")


def test_a_limit_below_what_is_held_is_set_with_a_warning_and_loses_nothing(
    env: Mapping[str, str], producer: Producer, queue: Queue
) -> None:
    for number in range(3):
        producer.put(f"{number}", b"body")
    (warning,) = printed("queue", "configure", "--items", "2", env=env)["warnings"]
    assert "3 of 2 items: new writes are refused" in warning
    assert b"warning: the queue holds" in run_command("queue", "configure", env=env).stderr
    small = printed("queue", "configure", "--items", "9", "--bytes", "1KiB", "--dead-bytes", "1", env=env)["warnings"]
    assert [text for text in small if "PENSTOCK_MAX_BODY_BYTES" in text] == small
    assert len(small) == 2
    assert queue.stats().items == 3


def test_configure_refuses_a_dead_letter_limit_below_what_they_take_and_nonsense(
    env: Mapping[str, str], producer: Producer, queue: Queue
) -> None:
    producer.put("key", b"body" * 100)
    options = {"lease": 15, "max_items": 1, "max_bytes": 10**6, "max_wait": 0, "budget": 10**6, "holds_none": True}
    (batch,) = queue.claim(["token"], **options).batches  # type: ignore[arg-type]
    queue.settle("token", [Settlement(batch.writes[0].name, Outcome.DEAD)], max_attempts=8)
    said = refused("queue", "configure", "--dead-bytes", "100", "--items", "5", env=env, status=2)
    assert "Retry or purge some first" in said
    for option, value in (
        ("--items", "0"),
        ("--items", "-1"),
        ("--bytes", "0"),
        ("--bytes", "much"),
        ("--bytes", "9999999GiB"),
    ):
        assert option in refused("queue", "configure", option, value, env=env, status=2)
    assert queue.stats().limits.items == 1_000_000, "a refused command changes nothing"


def test_list_and_show_print_the_documented_json_and_peek_the_body(env: Mapping[str, str], producer: Producer) -> None:
    receipt = producer.put(
        "a", b"the body", priority="high", tenant="t", tags={"x": "y"}, content_type="text/plain", traceparent=TRACE
    )
    producer.delete("b")
    (listed,) = printed("queue", "list", "--state", "ready", "--tenant", "t", env=env)
    shown = printed("queue", "show", "a", env=env)
    assert shown.items() >= listed.items()
    assert datetime.fromisoformat(listed.pop("accepted_at")).utcoffset() is not None
    assert listed.pop("size") > 8
    assert listed == {
        "bucket": BUCKET, "key": "a", "seq": receipt.seq, "waiting_seq": None, "operation": "put", "state": "ready",
        "priority": "high", "tenant": "t", "attempts": 0, "due_at": None, "contested": False, "guard_looks_at": None,
        "last_error": None,
    }  # fmt: skip
    assert (shown["body_size"], shown["content_type"], shown["tags"]) == (8, "text/plain", {"x": "y"})
    assert shown["traceparent"] == TRACE
    assert shown["sha256"] == hashlib.sha256(b"the body").hexdigest()
    assert len(printed("queue", "list", env=env)) == 2
    assert len(printed("queue", "list", "--limit", "1", env=env)) == 1
    first = printed("queue", "list", "--limit", "1", "--cursor", "", env=env)
    then = printed("queue", "list", "--limit", "1", "--cursor", first["cursor"], env=env)
    assert {one["writes"][0]["key"] for one in (first, then)} == {"a", "b"}
    assert then["cursor"] is None
    assert f"--cursor {first['cursor']}".encode() in run_command("queue", "list", "--limit", "1", env=env).stderr
    assert "--cursor" in refused("queue", "list", "--cursor", "nonsense", env=env, status=2)
    assert b"2 writes" in run_command("queue", "list", env=env).stdout
    text = run_command("queue", "show", "a", env=env).stdout
    assert b"text/plain" in text
    assert b"the body" not in text
    peeked = run_command("queue", "peek", "a", "--bytes", "3", env=env)
    assert (peeked.stdout, peeked.stderr) == (b"the", b"the first 3 of 8 bytes\n")
    for command in ("show", "peek"):
        assert "not in the queue" in refused("queue", command, "nowhere", env=env, status=1)


def test_a_contested_name_without_a_write_is_listed_and_shown_and_a_purge_leaves_it(
    env: Mapping[str, str], producer: Producer, queue: Queue
) -> None:
    receipt = producer.put("key", b"body", priority="critical")
    for outcome in (Outcome.RETRY_UNKNOWN, Outcome.STORED):
        queue.sweep(max_attempts=8)
        (batch,) = queue.claim(
            ["token"], lease=15, max_items=1, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
        ).batches
        queue.settle("token", [Settlement(batch.writes[0].name, outcome)], max_attempts=8)
    (listed,) = printed("queue", "list", "--state", "contested", env=env)
    shown = printed("queue", "show", "key", env=env)
    assert shown.items() >= listed.items()
    assert (listed["state"], listed["contested"], listed["seq"]) == ("contested", True, receipt.seq)
    assert datetime.fromisoformat(listed["guard_looks_at"]).utcoffset() is not None
    assert printed("queue", "list", env=env) == []
    said = run_command("queue", "show", "key", env=env).stdout.decode()
    assert f"the guard looks next at {listed['guard_looks_at']}" in said
    assert "nothing needs to be done" in said
    table = run_command("queue", "list", "--state", "contested", env={**env, "COLUMNS": "200"}).stdout.decode()
    assert "contested, look in 16 min" in table
    for which in ("--all", "--state=contested"):
        purged = printed("queue", "purge", which, "--yes", env=env)
        assert purged == {"purged": 0, "in_flight": 0, "gone": 0}
    assert queue.stats().contested == 1


def test_move_and_purge_change_what_waits_and_say_what_they_left(
    env: Mapping[str, str], producer: Producer, queue: Queue
) -> None:
    for number in range(4):
        producer.put(f"tmp/{number}", b"body", priority="low")
    producer.put("kept", b"body")
    assert printed("queue", "move", "kept", "--priority", "high", env=env)["moved"] is True
    assert queue.stats().ready["high"] == 1
    assert run_command("queue", "move", "nowhere", "--priority", "high", env=env).returncode == 1
    for answer in (b"n\n", b""):
        done = run_command("queue", "purge", "--prefix", "tmp/", env=env, stdin=answer)
        assert (done.returncode, b"Remove 4 accepted writes" in done.stderr) == (130, True)
    assert queue.stats().items == 5
    purged = printed("queue", "purge", "--prefix", "tmp/", "--yes", env=env)
    assert purged == {"purged": 4, "in_flight": 0, "gone": 0}
    assert run_command("queue", "purge", "--all", env=env, stdin=b"y\n").stdout == b"1 purged\n"
    assert "say which" in refused("queue", "purge", "--yes", env=env, status=2)
    assert "in flight" in refused("queue", "purge", "--state", "inflight", env=env, status=2)


def test_every_command_that_changes_something_is_audited_and_the_others_are_not(
    env: Mapping[str, str], producer: Producer, tmp_path: Path
) -> None:
    producer.put("a", b"body")
    (tmp_path / "empty").write_text('{"format": "penstock-dead-letters", "version": 1}\n')
    (tmp_path / "wrong").write_text("")
    for command in (
        "queue pause --bucket my-bucket", "queue resume --bucket my-bucket", "queue configure --items 9",
        "queue configure", "queue stats", "queue list", "queue show a", "dead list", "dead retry --all --code X",
        "dead purge --all --yes", f"dead import {tmp_path / 'empty'}", "queue move a --priority low",
        "queue purge --prefix a --yes", "audit",
    ):  # fmt: skip
        done = run_command(*command.split(), env=env)
        assert done.returncode == 0, (command, done.stderr)
    refused("dead", "import", str(tmp_path / "wrong"), env=env, status=2)
    entries = printed("audit", env=env)
    assert [entry["command"] for entry in reversed(entries)] == [
        "queue pause", "queue resume", "queue configure", "dead retry", "dead purge", "dead import", "queue move",
        "queue purge", "dead import",
    ]  # fmt: skip
    failed, purge = entries[:2]
    assert "not an export" in failed["error"]
    assert datetime.fromisoformat(purge.pop("at")).utcoffset() is not None
    assert "@" in purge.pop("who")
    assert purge == {"command": "queue purge", "what": {"prefix": "a"}, "count": 1, "error": None}
    assert len(printed("audit", "--limit", "1", env=env)) == 1
