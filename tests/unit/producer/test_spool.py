"""The spool's files, without a Redis: what is found, set aside, refused; and the commands that look at them."""

from __future__ import annotations

import base64
import json
import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from penstock import AsyncProducer, InvalidSetting, Producer, Write
from penstock.spool.append import Spool
from penstock.spool.clock import REBOOT_ERROR, Moment, RedisTime
from penstock.spool.files import SpoolFiles
from penstock.spool.jobs import Jobs, LostError, Progress
from penstock.spool.look import spool_stats, spooled_writes
from penstock.spool.rows import Origin
from tests.support.prepared import prepare_put
from tests.support.producers import BUCKET
from tests.support.worker import run_command

NOBODY = "redis://127.0.0.1:1/0"
"""Where no Redis answers."""


def make(directory: Path) -> Producer:
    return Producer(NOBODY, bucket=BUCKET, timeout=0.2, spool=str(directory))


def fill(directory: Path, *keys: str) -> None:
    with make(directory) as producer:
        for key in keys:
            assert producer.put(key, key.encode(), tenant="tenant", priority="high").spooled


def append(directory: Path, *keys: str) -> None:
    """Without anybody who replays."""
    spool = Spool(str(directory), "default", 1 << 20, 5.0)
    for key in keys:
        write = prepare_put(Write(key=key, body=b"body"), BUCKET, "normal", 100, b"")
        spool.append([[write]], Origin(0, 1, Moment.now(), 0, "memory"), None)
    spool.close()


@pytest.mark.parametrize(
    "error", [sqlite3.DataError("string or blob too big"), UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid")]
)
def test_a_length_or_a_name_that_cannot_be_is_damage(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What random bytes in the file's list of tables are to SQLite, now and then."""
    fill(tmp_path, "old")
    connect, failures = SpoolFiles._connect, [error]

    def fails_once(files: SpoolFiles) -> sqlite3.Connection:
        if failures:
            raise failures.pop()
        return connect(files)

    monkeypatch.setattr(SpoolFiles, "_connect", fails_once)
    fill(tmp_path, "new")
    assert len(list(tmp_path.glob("default.spool.aside-*"))) >= 1


@pytest.mark.parametrize("damage", [b"this is no database at all, but a text\n" * 100, b""])
def test_a_damaged_spool_is_set_aside_and_a_new_one_begins(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "old")
    path = tmp_path / "default.spool"
    before = path.read_bytes()
    path.write_bytes(damage or before[:2000] + os.urandom(len(before) - 2000))
    found = path.read_bytes()
    with caplog.at_level(logging.ERROR, "penstock.spool"):
        fill(tmp_path, "new")
    (aside,) = spool_stats(str(tmp_path), "default").aside
    assert Path(aside).read_bytes() == found
    assert "set aside" in caplog.text
    assert [write.key for write in spooled_writes(str(tmp_path), "default")] == ["new"]


def test_anothers_database_is_set_aside_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "default.spool") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    fill(tmp_path, "key")
    stats = spool_stats(str(tmp_path), "default")
    assert (stats.writes, len(stats.aside)) == (1, 1)
    with sqlite3.connect(stats.aside[0]) as connection:
        assert connection.execute("SELECT count(*) FROM theirs").fetchone() == (0,)
    connection.close()


def test_a_newer_versions_spool_is_left_alone_and_refused(tmp_path: Path) -> None:
    fill(tmp_path, "key")
    with sqlite3.connect(tmp_path / "default.spool") as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(InvalidSetting, match="newer version"):
        make(tmp_path)
    assert not list(tmp_path.glob("*aside*"))


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSetting, match=r"spool \(PENSTOCK_SPOOL\)"):
        make(tmp_path / "file")
    with pytest.raises(InvalidSetting, match=r"spool \(PENSTOCK_SPOOL\)"):
        Producer(NOBODY, spool="")
    with pytest.raises(InvalidSetting, match="spool_max_bytes"):
        AsyncProducer(NOBODY, spool=str(tmp_path), spool_max_bytes=0)


def test_a_spooled_receipt_cannot_be_waited_for(tmp_path: Path) -> None:
    with make(tmp_path) as producer, pytest.raises(InvalidSetting, match="spool"):
        producer.wait(producer.put("key", b"body"), 1.0)


def test_a_child_of_a_fork_spools_too(tmp_path: Path) -> None:
    with make(tmp_path) as producer:
        producer.put("parent", b"body")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                producer.put("child", b"body")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        producer.put("later", b"body")
    assert [write.key for write in spooled_writes(str(tmp_path), "default")] == ["parent", "child", "later"]


def test_sqlite_is_loaded_only_with_a_spool() -> None:
    script = "import sys, penstock; penstock.Producer(bucket='my-bucket'); print('sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_the_time_of_acceptance_is_never_taken_for_later_than_it_was() -> None:
    now = Moment("boot", 100_000_000, 500_000_000)
    clock = RedisTime(900_000_000, now)
    assert clock.earliest(Moment("boot", 50_000_000, 0)) == 850_000_000 - 10_000
    assert clock.earliest(Moment("another", 99_000_000, 450_000_000)) == 850_000_000 - 10_000 - REBOOT_ERROR


def test_commands_show_export_and_say_that_something_is_left(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    env = {**os.environ, "PENSTOCK_REDIS_URL": NOBODY, "PENSTOCK_SPOOL": str(tmp_path)}
    shown = json.loads(run_command("spool", "stats", "--json", env=env).stdout)
    assert (shown["writes"], shown["aside"]) == (2, [])
    lines = [json.loads(line) for line in run_command("spool", "export", env=env).stdout.splitlines()]
    assert [(one["key"], base64.b64decode(one["body"]), one["priority"], one["tenant"]) for one in lines] == [
        ("a", b"a", "high", "tenant"),
        ("b", b"b", "high", "tenant"),
    ]
    done = run_command("spool", "flush", "--timeout", "1", env=env)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert run_command("spool", "stats", env={**env, "PENSTOCK_SPOOL": ""}).returncode == 2


def test_commands_end_in_a_line_where_a_row_cannot_be_read_and_export_the_others(tmp_path: Path) -> None:
    append(tmp_path, "a", "b", "c")
    with closing(sqlite3.connect(tmp_path / "default.spool", isolation_level=None)) as connection:
        connection.execute("UPDATE calls SET body = substr(body, 2) WHERE id = 2")
    env = {**os.environ, "PENSTOCK_REDIS_URL": NOBODY, "PENSTOCK_SPOOL": str(tmp_path)}
    exported = run_command("spool", "export", env=env)
    assert [json.loads(line)["key"] for line in exported.stdout.splitlines()] == ["a", "c"]
    assert (exported.returncode, len(exported.stderr.splitlines())) == (2, 1)
    assert b"row 2" in exported.stderr
    assert run_command("spool", "stats", env=env).returncode == 0
    flushed = run_command("spool", "flush", "--timeout", "1", env=env)
    assert flushed.returncode == 1
    assert b"Traceback" not in flushed.stderr
    shown = json.loads(run_command("spool", "stats", "--json", env=env).stdout)
    assert (shown["writes"], len(shown["aside"])) == (2, 1)


def test_who_takes_over_sends_the_same_under_the_same_number_and_the_one_before_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.spool.jobs.LEASE", 0.0)
    append(tmp_path, "a", "b")
    before, after = (Jobs(SpoolFiles(str(tmp_path), "default"), holder) for holder in ("before", "after"))
    assert before.take()
    first = before.next(1, shards=1)
    assert after.take()
    second = after.next(256, shards=1)
    assert first is not None
    assert second is not None
    assert (first.number, first.producer, [row.id for row in first.rows]) == (
        second.number, second.producer, [row.id for row in second.rows],
    )  # fmt: skip
    with pytest.raises(LostError):
        before.done(first, Progress())
    after.done(second, Progress())
    third = after.next(256, shards=1)
    assert third is not None
    assert (third.number, [row.id for row in third.rows]) == (first.number + 1, [2])


def test_the_highest_number_that_a_name_got_stays_known_whatever_is_told_later(tmp_path: Path) -> None:
    append(tmp_path, "a", "a", "a")
    jobs = Jobs(SpoolFiles(str(tmp_path), "default"), "one")
    assert jobs.take()
    for number in (9, 5):
        job = jobs.next(1, shards=1)
        assert job is not None
        progress = Progress()
        progress.accepted(f"{BUCKET}/a".encode(), number, 0)
        jobs.done(job, progress)
    job = jobs.next(1, shards=1)
    assert job is not None
    assert job.floors == {f"{BUCKET}/a".encode(): 9}


def test_a_job_with_a_row_that_can_no_longer_be_read_becomes_another_job(tmp_path: Path) -> None:
    """Redis answers a number with what it answered before, which was about more writes."""
    append(tmp_path, "a", "b", "c")
    jobs = Jobs(SpoolFiles(str(tmp_path), "default"), "holder")
    assert jobs.take()
    first = jobs.next(256, shards=1)
    with closing(sqlite3.connect(tmp_path / "default.spool", isolation_level=None)) as connection:
        connection.execute("UPDATE calls SET body = substr(body, 2) WHERE id = 2")
    second = jobs.next(256, shards=1)
    assert first is not None
    assert second is not None
    assert [row.id for row in first.rows] == [1, 2, 3]
    assert [row.id for row in second.rows] == [1, 3]
    assert second.number == first.number + 1
    assert len(spool_stats(str(tmp_path), "default").aside) == 1


def test_an_empty_spool_gives_room_on_the_disk_back(tmp_path: Path) -> None:
    append(tmp_path, *(f"{number:01000}" for number in range(50)))
    jobs = Jobs(SpoolFiles(str(tmp_path), "default"), "holder")
    assert jobs.take()
    while job := jobs.next(256, shards=1):
        jobs.done(job, Progress())
    with closing(sqlite3.connect(tmp_path / "default.spool")) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_a_lease_is_one_processs_until_it_ends(tmp_path: Path) -> None:
    append(tmp_path, "a")
    one, other = (Jobs(SpoolFiles(str(tmp_path), "default"), holder) for holder in ("one", "other"))
    assert [one.take(), other.take(), one.take()] == [True, False, True]
    one.give_back()
    assert other.take()
