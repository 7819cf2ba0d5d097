"""The spool loses nothing and turns no order round: killed at each step, shared by many processes, on a full disk."""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from penstock import Producer, QueueFull, QueueUnavailable, Write
from penstock.calls import Caller, Options
from penstock.packing import pack
from penstock.spool.append import Spool
from penstock.spool.clock import Moment
from penstock.spool.duty import replay_all
from penstock.spool.room import is_full
from penstock.spool.rows import Origin
from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, Seen
from tests.support.spool_victim import die_at, in_child
from tests.support.wait import wait_until

pytestmark = pytest.mark.faults

NOBODY = "redis://127.0.0.1:1/0"
"""Where no Redis answers."""
TIMEOUT = 0.3
PROCESSES = 10
MOUNT, UMOUNT = "/usr/bin/mount", "/usr/bin/umount"
KILLED = 3
SECONDS = 6.0
OUTAGES = 2
MUCH = 14_000_000
"""Bytes in a spool: more than ten times what is put aside."""
ROW = 50
"""Writes of a call."""
LARGE = 1_000_000


def options(url: str, queue: str, directory: Path) -> Options:
    return Options.make(url, queue, BUCKET, HANG, 1 << 24, None, "memory", str(directory))


def spooled(queue: str, directory: Path, versions: range) -> None:
    with Producer(NOBODY, queue=queue, bucket=BUCKET, timeout=TIMEOUT, spool=str(directory)) as producer:
        for version in versions:
            assert producer.put("key", b"%d" % version).spooled


def bodies(seen: Seen) -> dict[str, int]:
    return {name.removeprefix(f"{BUCKET}/"): int(bytes(record.body or b"")) for name, record in seen.records().items()}


def replayed(url: str, queue: str, directory: Path) -> dict[str, int]:
    """What the queue holds when the spool is empty."""
    # Whoever was killed has the lease for a while yet.
    wait_until(
        lambda: replay_all(options(url, queue, directory), directory.as_posix(), threading.Event()), HANG, "lease"
    )
    spool = Spool(str(directory), queue, 1, 1.0)
    assert not spool.pending
    seen = Seen(url, queue)
    try:
        return bodies(seen)
    finally:
        seen.close()


@pytest.fixture(autouse=True)
def _short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.spool.jobs.LEASE", 0.2)


def test_killed_at_each_step_of_an_append_what_was_accepted_is_replayed(
    redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    for step in itertools.count():
        directory, accepted = tmp_path / str(step), tmp_path / f"{step}.log"

        def work(step: int = step, directory: Path = directory, accepted: Path = accepted) -> None:
            die_at(step)
            spool = Spool(str(directory), queue_name, 1 << 20, HANG)
            caller = Caller(options(NOBODY, queue_name, directory))
            for version in range(1, 4):
                write = pack(caller.check(Write(key=f"{step}", body=b"%d" % version)))
                spool.append([[write]], Origin(0, 1, Moment.now(), 0, "memory"), None)
                accepted.write_text(str(version))

        ended = in_child(work)
        last = int(accepted.read_text()) if accepted.exists() else 0
        found = replayed(redis_url, queue_name, directory).get(str(step), 0)
        assert last <= found <= last + 1, f"killed at step {step}"
        if ended:
            assert step >= 9
            return


def test_killed_at_each_step_of_a_replay_each_write_counts_once_and_the_last_one_wins(
    redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    for step in itertools.count():
        queue, directory = f"{queue_name}-{step}", tmp_path / str(step)
        spooled(queue, directory, range(1, 4))

        def work(step: int = step, queue: str = queue, directory: Path = directory) -> None:
            die_at(step)
            assert replay_all(options(redis_url, queue, directory), str(directory), threading.Event())

        ended = in_child(work)
        assert replayed(redis_url, queue, directory) == {"key": 3}, f"killed at step {step}"
        seen = Seen(redis_url, queue)
        assert seen.accepted() == 3, f"killed at step {step}"
        seen.close()
        if ended:
            assert step >= 10
            return


@pytest.fixture
def own_redis(tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", appendfsync="always", executable=redis_executable) as server:
        yield server


def test_a_call_that_a_frozen_redis_takes_later_counts_once_and_what_came_after_it_wins(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    with Producer(own_redis.url, bucket=BUCKET, timeout=2.0, spool=str(tmp_path / "spool")) as producer:
        producer.put("key", b"0")
        own_redis.freeze()
        assert [producer.put("key", b"%d" % version).spooled for version in (1, 2)] == [True, True]
        own_redis.thaw()
        wait_until(lambda: not producer._shards._spool.pending, HANG, "replayed")  # type: ignore[union-attr]
    seen = Seen(own_redis.url, "default")
    assert bodies(seen) == {"key": 2}
    assert seen.accepted() == 3
    seen.close()


def test_ten_processes_on_one_spool_keep_each_keys_order_while_redis_comes_and_goes(
    own_redis: RedisServer, queue_name: str, tmp_path: Path
) -> None:
    directory = tmp_path / "spool"
    command = [sys.executable, "-m", "tests.support.spool_victim", own_redis.url, queue_name, str(directory)]
    logs = [tmp_path / f"{number}.log" for number in range(PROCESSES)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number, log in enumerate(logs):
            with log.open("wb") as out:
                running.append(subprocess.Popen([*command, f"{number}", f"{SECONDS}"], stdout=out))
        for outage in range(OUTAGES):
            wait_until(lambda: all(log.stat().st_size for log in logs), HANG, "all write")
            own_redis.kill()
            sizes = [log.stat().st_size for log in logs]
            wait_until(
                lambda sizes=sizes: all(  # type: ignore[misc]
                    log.stat().st_size > size + 200 or one.poll() is not None
                    for log, size, one in zip(logs, sizes, running, strict=True)
                ),
                HANG,
                "all spool",
            )
            if outage == 0:
                for victim in running[:KILLED]:
                    victim.kill()
            own_redis.start()
        for one in running[KILLED:]:
            assert one.wait(HANG) == 0
    finally:
        for one in running:
            one.kill()
            one.wait()
    found = replayed(own_redis.url, queue_name, directory)
    last: dict[str, int] = {}
    count = 0
    for log in logs:
        for line in log.read_text().splitlines():
            key, version, was_spooled = line.split()
            last[key] = int(version)
            count += int(was_spooled)
    assert count > 100
    wrong = {key: (version, found.get(key)) for key, version in last.items() if found.get(key, 0) < version}
    assert not wrong, wrong
    exact = {key: version for key, version in last.items() if int(key.split("/")[0]) >= KILLED}
    assert {key: found[key] for key in exact} == exact


def fill(producer: Producer, kind: type[Exception], text: str, *, size: int) -> int:
    """Writes until it is refused so; returns how many were accepted."""
    for number in itertools.count():
        try:
            assert producer.put(f"{number}", b"%d" % number + b" " * size).spooled
        except kind as error:
            if re.search(text, str(error)) is None:
                raise
            return number
    raise AssertionError("never full")


def test_a_full_spool_refuses_and_says_so_and_keeps_what_it_has(
    redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    with Producer(
        NOBODY, queue=queue_name, bucket=BUCKET, timeout=TIMEOUT, spool=str(tmp_path), spool_max_bytes=5000
    ) as producer:
        accepted = fill(producer, QueueFull, "the spool .* is full", size=0)
    assert accepted > 3
    assert replayed(redis_url, queue_name, tmp_path) == {f"{number}": number for number in range(accepted)}


@contextmanager
def own_disk(directory: Path, size: str) -> Iterator[None]:
    if subprocess.run([MOUNT, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run([UMOUNT, "-l", str(directory)], check=True)


def fill_disk(directory: Path) -> None:
    with (directory / "others").open("wb", buffering=0) as others, suppress(OSError):
        while True:
            others.write(bytes(4096))


def test_a_full_disk_refuses_and_keeps_what_was_accepted(redis_url: str, queue_name: str, tmp_path: Path) -> None:
    with own_disk(tmp_path, "4m"):
        with Producer(NOBODY, queue=queue_name, bucket=BUCKET, timeout=TIMEOUT, spool=str(tmp_path)) as producer:
            accepted = fill(producer, QueueUnavailable, "is full, but", size=50_000)
        assert accepted > 3
        fill_disk(tmp_path)
        with pytest.raises(sqlite3.OperationalError) as caught:
            replayed(redis_url, queue_name, tmp_path)
        assert is_full(caught.value), "it takes back the room that it had put aside"
        found = replayed(redis_url, queue_name, tmp_path)
        assert sorted(found.values()) == list(range(accepted))


@pytest.mark.parametrize("size", [2_800, LARGE])
def test_a_replay_of_much_needs_no_more_of_a_full_disk_than_was_put_aside(
    size: int, redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    """The log is empty at first, since the applications were started anew, and grows with each job."""
    with own_disk(tmp_path, "60m"):
        make = partial(Producer, NOBODY, queue=queue_name, bucket=BUCKET, timeout=TIMEOUT, spool=str(tmp_path))
        count = MUCH // size
        with make() as producer:
            body = os.urandom(size)
            assert all(
                receipt.spooled
                for start in range(0, count, ROW)
                for receipt in producer.put_many(
                    [Write(key=f"{start}/{at}", body=body, compression="none") for at in range(min(ROW, count - start))]
                )
            )
        with make():
            fill_disk(tmp_path)

            def done() -> bool:
                try:
                    return replay_all(options(redis_url, queue_name, tmp_path), str(tmp_path), threading.Event())
                except sqlite3.OperationalError as error:
                    if not is_full(error):
                        raise
                    return False

            wait_until(done, HANG, "all was replayed")
        seen = Seen(redis_url, queue_name)
        assert seen.accepted() == count
        seen.close()
