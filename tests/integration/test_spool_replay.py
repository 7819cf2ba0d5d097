"""A replay that has to wait: for room in the queue, for the durability that was asked for, for another look."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import pytest

from penstock import NotDurable, Producer
from penstock.calls import Options
from penstock.spool.duty import replay_all
from penstock.spool.look import spool_stats
from penstock.spool.recent import Recent
from penstock.spool.replay import Replay
from penstock_worker.demo.process import LOOPBACK
from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, Seen
from tests.support.sentinel_servers import NO_DELAY
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

NOBODY = "redis://127.0.0.1:1/0"
"""Where no Redis answers."""
SHORT = 0.6
"""A call's time limit where what it waits for does not come."""


def spool(queue: str, directory: Path, *keys: str, durability: str = "memory") -> None:
    with Producer(
        NOBODY, queue=queue, bucket=BUCKET, timeout=0.2, durability=durability, spool=str(directory)
    ) as producer:
        assert all(producer.put(key, key.encode()).spooled for key in keys)


def replay(url: str, queue: str, directory: Path, timeout: float = HANG) -> bool:
    options = Options.make(url, queue, None, timeout, 1 << 24, None, "memory", str(directory))
    return replay_all(options, str(directory), threading.Event())


def keys(seen: Seen) -> set[str]:
    return {name.removeprefix(f"{BUCKET}/") for name in seen.records()}


def test_a_full_queue_stops_the_replay_in_order_and_room_lets_it_go_on(
    redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    spool(queue_name, tmp_path, *"abcde", "a")
    with ExitStack() as stack:
        seen = stack.enter_context(closing(Seen(redis_url, queue_name)))
        seen.limit(items=2)
        producer = stack.enter_context(Producer(redis_url, queue=queue_name, bucket=BUCKET, spool=str(tmp_path)))
        assert producer.put("f", b"f").spooled, "it goes behind what waits"
        wait_until(lambda: keys(seen) == {"a", "b"}, HANG, "what there is room for was replayed")
        assert producer.put("g", b"g").spooled, "nobody hears of a full queue while the spool has room"
        assert spool_stats(str(tmp_path), queue_name).writes == 6
        seen.limit(items=4)
        wait_until(lambda: keys(seen) == set("abcd"), HANG, "and what there is more room for")
        seen.limit(items=100)
        wait_until(lambda: not producer.put("direct", b"body").spooled, HANG, "all was replayed")
        assert keys(seen) == {*"abcdefg", "direct"}
        assert spool_stats(str(tmp_path), queue_name).superseded == 0


def test_a_replay_takes_nothing_out_before_it_is_as_durable_as_its_producer_asked(
    queue_name: str, tmp_path: Path, redis_executable: str | None
) -> None:
    directory = tmp_path / "spool"
    for name in ("master", "replica"):
        (tmp_path / name).mkdir()
    spool(queue_name, directory, "a", "b")
    spool(queue_name, directory, "c", "d", durability="replicas:1")
    spool(queue_name, directory, "e")
    with RedisServer(tmp_path / "master", executable=redis_executable, extra=NO_DELAY) as master:
        for _ in range(2):
            with pytest.raises(NotDurable, match="0 of 1 replicas"):
                replay(master.url, queue_name, directory, SHORT)
            assert spool_stats(str(directory), queue_name).writes == 3, "what asked for less has gone, in its turn"
        follow = (*NO_DELAY, "--replicaof", f"{LOOPBACK} {master.port}")
        with (
            RedisServer(tmp_path / "replica", executable=redis_executable, extra=follow) as replica,
            closing(Seen(master.url, queue_name)) as seen,
        ):

            def follows() -> bool:
                told = cast("dict[str, Any]", cast("Any", seen.client).info("replication"))
                return bool(told.get("slave0", {}).get("state") == "online")

            wait_until(follows, HANG, "the replica has its master's data")
            assert replay(master.url, queue_name, directory)
            assert keys(seen) == set("abcde")
            assert seen.accepted() == 5, "each counts once, however often it was sent"
            replica.kill()  # one that writes its first file heeds no SIGTERM


def test_a_replay_that_has_missed_much_of_what_ended_looks_again_and_goes_on(
    redis_url: str, queue_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool(queue_name, tmp_path, "a", "b")
    looks = 0
    refresh = Recent.refresh
    with closing(Seen(redis_url, queue_name)) as seen:

        def and_much_ends(recent: Recent, since: int) -> None:
            nonlocal looks
            refresh(recent, since)
            looks += 1
            for _ in range(100 if looks <= 2 else 0):
                cast("Any", seen.client).xadd(f"{seen.prefix}settled", {"seen": bytes(8)})

        monkeypatch.setattr(Recent, "refresh", and_much_ends)
        assert replay(redis_url, queue_name, tmp_path)
        assert looks == 3
        assert keys(seen) == {"a", "b"}
        assert seen.accepted() == 2


def damage(path: Path, change: str) -> bytes:
    """Of the second row, so that SQLite does not notice. Returns the row's body as it is then."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE calls SET {change} WHERE id = 2")  # noqa: S608 - a test's own words
        (body,) = connection.execute("SELECT body FROM calls WHERE id = 2").fetchone()
    return bytes(body)


@pytest.mark.parametrize(
    "change",
    [
        "body = substr(body, 1, 20)",
        "body = CAST(x'ff' || substr(body, 2) AS BLOB)",
        "body = CAST(replace(CAST(body AS BLOB), 'bucket/b', CAST(x'ff' AS BLOB) || 'ucket/b') AS BLOB)",
        "durability = CAST(x'ff' AS TEXT)",
        "floor = -1",
    ],
)
def test_a_row_that_cannot_be_read_is_set_aside_alone(
    change: str, redis_url: str, queue_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool(queue_name, tmp_path, *"abc")
    body = damage(tmp_path / f"{queue_name}.spool", change)
    with (
        closing(Seen(redis_url, queue_name)) as seen,
        Producer(redis_url, queue=queue_name, bucket=BUCKET, spool=str(tmp_path)) as producer,
    ):
        wait_until(lambda: not producer.put("direct", b"body").spooled, HANG, "the others were replayed")
        assert keys(seen) == {"a", "c", "direct"}
    stats = spool_stats(str(tmp_path), queue_name)
    assert (stats.writes, stats.bytes) == (0, 0)
    (aside,) = stats.aside
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT id, body FROM calls").fetchall() == [(2, body)]
    assert f"set aside as {aside}" in caplog.text


def test_the_thread_that_replays_outlives_a_bug_and_tells_no_values(
    redis_url: str, queue_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool(queue_name, tmp_path, *"ab")
    bugs = [KeyError("a secret"), KeyError("a secret")]
    step = Replay.step

    def fails_twice(replay: Replay) -> bool:
        if bugs:
            raise bugs.pop()
        return step(replay)

    monkeypatch.setattr(Replay, "step", fails_twice)
    with Producer(redis_url, queue=queue_name, bucket=BUCKET, spool=str(tmp_path)) as producer:
        wait_until(lambda: not producer.put("direct", b"body").spooled, HANG, "all was replayed")
    assert not bugs
    assert caplog.text.count("the spool waits: KeyError at duty.py") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize("before", ["accepted, but not as durable as asked for", "replayed"])
def test_a_spooled_write_is_newer_than_what_its_host_was_given_however_wrong_the_clock_may_be(
    before: str, redis_url: str, queue_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before == "replayed":
        spool(queue_name, tmp_path, "key")
        assert replay(redis_url, queue_name, tmp_path)
    else:
        with (
            Producer(
                redis_url, queue=queue_name, bucket=BUCKET, timeout=SHORT, durability="replicas:1", spool=str(tmp_path)
            ) as producer,
            pytest.raises(NotDurable),
        ):
            producer.put("key", b"older")
    spool(queue_name, tmp_path, "key")
    monkeypatch.setattr("penstock.spool.clock.DRIFT", 1e6)
    with closing(Seen(redis_url, queue_name)) as seen:
        (older,) = seen.records().values()
        assert replay(redis_url, queue_name, tmp_path)
        (newer,) = seen.records().values()
        assert newer.seq > older.seq
        assert bytes(newer.body or b"") == b"key"
    assert spool_stats(str(tmp_path), queue_name).superseded == 0
