"""The commands for dead letters beyond list and retry, as processes, against a real Redis."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.results import Failure, Outcome, Settlement
from tests.support.commands import printed, refused
from tests.support.worker import BUCKET, run_command

pytestmark = pytest.mark.integration

WIDE = {"COLUMNS": "300"}


@pytest.fixture
def letters(producer: Producer, queue: Queue) -> Queue:
    """Four dead letters: two of tenant t, one large, one with another code."""
    for key, body, tenant in (("a", b"1", "t"), ("b", b"2", "t"), ("large", b"x" * 70_000, ""), ("odd", b"3", "")):
        producer.put(key, body, tenant=tenant, content_type="text/plain")
    (batch,) = queue.claim(
        ["token"], lease=60, max_items=10, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
    ).batches
    settlements = [
        Settlement(
            write.name,
            Outcome.DEAD,
            failure=Failure("permanent", "Odd" if write.key == "odd" else "InvalidTag", 400, "no"),
        )
        for write in batch.writes
    ]
    queue.settle("token", settlements, max_attempts=8)
    return queue


def test_list_retry_and_purge_take_the_same_filters(env: Mapping[str, str], letters: Queue) -> None:
    def keys(*options: str) -> list[str]:
        return sorted(letter["key"] for letter in printed("dead", "list", *options, env=env))

    assert keys() == ["a", "b", "large", "odd"]
    assert keys("--code", "Odd") == ["odd"]
    assert keys("--tenant", "t") == ["a", "b"]
    assert keys("--bucket", "elsewhere") == keys("--older-than", "1h") == []
    assert keys("--older-than", "0s", "--tenant", "t") == ["a", "b"]
    assert printed("dead", "retry", "--all", "--code", "Odd", env=env) == {"queued": 1}
    assert printed("dead", "purge", "--all", "--tenant", "t", "--yes", env=env) == {"purged": 2}
    assert keys() == ["large"]


def test_show_prints_every_letter_of_a_key_and_no_body(env: Mapping[str, str], letters: Queue) -> None:
    (shown,) = printed("dead", "show", "a", env=env)
    assert (shown["code"], shown["body_size"], shown["content_type"], shown["tenant"]) == (
        "InvalidTag",
        1,
        "text/plain",
        "t",
    )
    assert b"InvalidTag" in run_command("dead", "show", "large", env=env).stdout
    assert "no dead letter" in refused("dead", "show", "nowhere", env=env, status=1)


def test_purge_asks_and_does_nothing_without_a_yes(env: Mapping[str, str], letters: Queue) -> None:
    for answer in (b"n\n", b"\n", b""):
        done = run_command("dead", "purge", "--all", env=env, stdin=answer)
        assert done.returncode == 130
        assert b"Remove 4 dead letters" in done.stderr
    assert letters.stats().dead == 4
    done = run_command("dead", "purge", "a", env=env, stdin=b"y\n")
    assert done.stdout == b"1 dead letters purged\n"
    assert letters.stats().dead == 3


def test_what_was_exported_and_purged_can_be_imported_whole(
    env: Mapping[str, str], letters: Queue, tmp_path: Path
) -> None:
    file = tmp_path / "letters.jsonl"
    before = printed("dead", "list", env=env)
    assert printed("dead", "export", str(file), env=env) == {"exported": 4}
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text().splitlines()[0]) == {"format": "penstock-dead-letters", "version": 1}
    assert "exists" in refused("dead", "export", str(file), env=env, status=2)
    printed("dead", "purge", "--all", "--yes", env=env)
    assert printed("dead", "import", str(file), env=env) == {"imported": 4}
    assert printed("dead", "list", env=env) == [{**letter, "imported": True} for letter in before]
    assert printed("dead", "import", str(file), env=env) == {"there already": 4}
    left = printed("dead", "retry", "--all", env=env, status=1)
    assert list(left.values()) == [4]
    assert printed("dead", "retry", "--all", "--force", env=env) == {"queued": 4}
    assert printed("queue", "show", "large", env=env)["body_size"] == 70_000


def test_an_import_says_which_line_is_wrong(env: Mapping[str, str], letters: Queue, tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    file.write_text("{}\n")
    assert "not an export" in refused("dead", "import", str(file), env=env, status=2)
    file.unlink()
    printed("dead", "export", str(file), env=env)
    file.write_text(file.read_text() + '{"seq": 1}\n')
    assert "line 6" in refused("dead", "import", str(file), env=env, status=1)


def test_an_import_leaves_letters_whose_numbers_are_far_ahead_and_says_so(
    env: Mapping[str, str], letters: Queue, tmp_path: Path
) -> None:
    file = tmp_path / "letters.jsonl"
    printed("dead", "export", str(file), env=env)
    printed("dead", "purge", "--all", "--yes", env=env)
    lines = file.read_text().splitlines()
    letter = json.loads(lines[1])
    seq, record = 2**53, b64decode(letter["record"])
    letter |= {"seq": seq, "record": b64encode(record[:1] + seq.to_bytes(8) + record[9:]).decode()}
    file.write_text("\n".join([lines[0], json.dumps(letter), *lines[2:]]))
    done = printed("dead", "import", str(file), env=env, status=1)
    assert done == {"imported": 3, "left, because its number is more than a day ahead of Redis's clock": 1}


def test_keys_and_filters_of_all_do_not_go_together(env: Mapping[str, str]) -> None:
    for command in ("retry", "purge"):
        assert "give keys, or --all" in refused("dead", command, env=env, status=2)
        assert "go with --all" in refused(
            "dead", command, "key", "--code", "Odd", "--bucket", BUCKET, env=env, status=2
        )
        assert "expected an age" in refused("dead", command, "--all", "--older-than", "soon", env=env, status=2)


ODD_KEYS = ("pages/[id].js", "a[/b]c", "users:key:1", "[bold]z")


def test_tables_show_keys_as_they_are(env: Mapping[str, str], producer: Producer, queue: Queue) -> None:
    for key in ODD_KEYS:
        producer.put(key, b"body")
    producer.put("turned-\u202eround", b"body")
    waiting = run_command("queue", "list", env={**env, **WIDE}).stdout.decode()
    (batch,) = queue.claim(
        ["token"], lease=60, max_items=10, max_bytes=10**6, max_wait=0, budget=10**6, holds_none=True
    ).batches
    failure = Failure("permanent", "Odd", 400, "it says [red]no")
    queue.settle(
        "token", [Settlement(write.name, Outcome.DEAD, failure=failure) for write in batch.writes], max_attempts=8
    )
    dead = run_command("dead", "list", env={**env, **WIDE}).stdout.decode()
    run_command("dead", "retry", *ODD_KEYS, env=env)
    changes = run_command("audit", env={**env, **WIDE}).stdout.decode()
    for shown in (waiting, dead, changes):
        for key in ODD_KEYS:
            assert key in shown
    for shown in (waiting, dead):
        assert "turned-?round" in shown
    assert "it says [red]no" in dead
    assert "\u202e" not in run_command("dead", "show", "turned-\u202eround", env=env).stdout.decode()


def test_an_import_of_a_file_that_is_no_text_says_so(env: Mapping[str, str], tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"\xff\xfe\x00")
    assert "first line must be" in refused("dead", "import", str(path), env=env, status=2)
