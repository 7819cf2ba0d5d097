"""A replay that Redis refuses, or whose answers are lost: room lets it go on, and the host's newest write wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from penstock import NotDurable, Producer, QueueFull, QueueUnavailable, Write
from penstock.calls import Caller, Options
from penstock.errors import PenstockError
from penstock.packing import pack
from penstock.queue.commit import Group
from penstock.queue.names import key_prefix, shard_of
from penstock.queue.reshard import reshard
from penstock.queue.sharded import Clients, ShardedQueue
from penstock.spool.append import Spool
from penstock.spool.clock import Moment
from penstock.spool.duty import replay_all
from penstock.spool.look import spool_stats
from penstock.spool.rows import Origin
from penstock.sync_channel import Channel
from penstock_worker.demo.servers import RedisServer
from tests.support.expiry import let_pass
from tests.support.producers import BUCKET, HANG, Seen

pytestmark = pytest.mark.integration

NOBODY = "redis://127.0.0.1:1/0"
"""Where no Redis answers."""
A_CALL = 256
"""Writes that one call of a replay takes."""
HOURS = 7200


class Host:
    """One host's spool, and the queue that it is for."""

    def __init__(self, url: str, queue: str, directory: Path) -> None:
        self.url, self.queue, self.directory = url, queue, directory
        self.options = Options.make(url, queue, BUCKET, HANG, 1 << 24, None, "memory", str(directory))
        self.seen = Seen(url, queue)

    def spool(self, *writes: tuple[str, bytes]) -> None:
        with Producer(NOBODY, queue=self.queue, bucket=BUCKET, timeout=0.2, spool=str(self.directory)) as producer:
            assert all(producer.put(key, body, compression="none").spooled for key, body in writes)

    def spool_lost_call(
        self, *groups: list[tuple[str, bytes]], durability: str = "memory"
    ) -> tuple[Caller, list[Group]]:
        """A call whose answer did not come, of so many callers."""
        caller = Caller(self.options)
        packed = [[pack(caller.check(Write(key=key, body=body))) for key, body in group] for group in groups]
        caller.encode(packed)
        self.append(packed, caller.last_call, durability)
        return caller, packed

    def append(self, groups: list[Group], identity: tuple[bytes, int], durability: str = "memory") -> None:
        spool = Spool(str(self.directory), self.queue, 1 << 20, HANG)
        with closing(spool):
            spool.append(groups, Origin(0, 1, Moment.now(), 0, durability, *identity), None)

    def replay(self, timeout: float = HANG) -> None:
        assert replay_all(replace(self.options, timeout=timeout), str(self.directory), threading.Event())

    def make_shards(self, count: int) -> None:
        with closing(Clients(self.url, HANG, self.queue)) as clients:
            assert reshard(ShardedQueue(clients, self.queue), count)

    def accepted(self) -> int:
        """Writes that were ever accepted, by all shards, each time it was."""
        with closing(Clients(self.url, HANG, self.queue)) as clients:
            return sum(ShardedQueue(clients, self.queue).stats().accepted.values())

    @property
    def waiting(self) -> int:
        return spool_stats(str(self.directory), self.queue).writes

    def body(self, key: str, shard: int = 0, shards: int = 1) -> bytes:
        """Of the write that waits in the queue."""
        client: Any = self.seen.client
        return bytes(client.hget(f"{key_prefix(self.queue, shard, shards)}write", f"{BUCKET}/{key}"))[-3:]

    def let_pass(self, seconds: int) -> None:
        """As if so much time had passed for all that Redis keeps for a while."""
        for shard in range(2):
            let_pass(self.seen.client, key_prefix(self.queue, shard, 2), seconds)


@pytest.fixture
def host(redis_url: str, queue_name: str, tmp_path: Path) -> Iterator[Host]:
    host = Host(redis_url, queue_name, tmp_path)
    with closing(host.seen.client):
        yield host


def names(shard: int, count: int) -> list[str]:
    """Keys of a shard of two."""
    found = (f"key-{number}" for number in range(10 * count + 20))
    return [key for key in found if shard_of(f"{BUCKET}/{key}".encode(), 2) == shard][:count]


def lose_answers(monkeypatch: pytest.MonkeyPatch, *, after: int = 0) -> None:
    """Of the calls behind the first ``after``."""
    send, calls = Channel.send, 0

    def send_and_lose(self: Channel, *args: Any) -> object:
        nonlocal calls
        calls += 1
        outcomes = send(self, *args)
        if calls > after:
            raise QueueUnavailable("lost", maybe_accepted=True)
        return outcomes

    monkeypatch.setattr(Channel, "send", send_and_lose)


def test_a_lost_call_that_a_full_queue_refuses_goes_on_when_there_is_room(host: Host) -> None:
    host.seen.limit(items=1)
    with Producer(host.url, queue=host.queue, bucket=BUCKET) as producer:
        producer.put("waits", b"1")
    host.spool_lost_call([("a", b"1"), ("b", b"1")])
    for _ in range(2):
        with pytest.raises(QueueFull):
            host.replay()
    host.seen.limit(items=3)
    host.replay()
    assert (host.waiting, host.accepted()) == (0, 3)


def test_of_a_lost_call_that_was_refused_in_part_the_rest_is_sent_and_the_hosts_newest_wins(host: Host) -> None:
    """Redis takes the call after the host has spooled what is newer: its number tells nothing about its age."""
    host.seen.limit(size=1000)
    caller, groups = host.spool_lost_call(
        [("small", b"OLD")], [("large", bytes(2000)), ("small", b"???")], [("both", bytes(2000))], [("both", b"OLD")],
        [("other", bytes(2000)), ("both", b"???")],
    )  # fmt: skip
    host.spool(("small", b"NEW"))
    channel = Channel(caller)
    with closing(channel):
        caller.resume(*caller.last_call)
        assert [isinstance(one, PenstockError) for one in channel.send(groups, time.monotonic() + HANG)] == [
            0,
            1,
            1,
            0,
            1,
        ]
    with pytest.raises(QueueFull):
        host.replay()
    host.let_pass(HOURS)
    assert host.waiting == 5, "what was accepted was taken out, and what is older than that"
    host.seen.limit(size=1 << 20)
    host.replay()
    assert host.waiting == 0
    assert [host.body("small"), host.body("both")] == [b"NEW", b"???"]
    assert host.accepted() == 2 + 4 + 1


def test_what_is_accepted_and_not_durable_yet_keeps_its_number_beside_what_is_refused(host: Host) -> None:
    host.seen.limit(size=1000)
    host.spool_lost_call([("large", bytes(2000))], [("small", b"1")], durability="replicas:1")
    for _ in range(2):
        with pytest.raises(NotDurable):
            host.replay(timeout=0.6)
    assert (host.waiting, host.accepted()) == (2, 1)


def test_a_large_body_that_redis_had_no_memory_for_is_sent_again(
    queue_name: str, tmp_path: Path, redis_executable: str | None
) -> None:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis", executable=redis_executable) as server:
        host = Host(server.url, queue_name, tmp_path / "spool")
        with closing(host.seen.client) as client:
            commands = cast("Any", client)
            host.spool(("large", bytes(8 << 20)))
            commands.config_set("maxmemory", commands.info("memory")["used_memory"] + (12 << 20))
            with pytest.raises(QueueUnavailable, match="maxmemory"):
                host.replay()
            commands.config_set("maxmemory", 0)
            host.replay()
            assert (host.waiting, len(host.seen.body(f"{BUCKET}/large"))) == (0, 8 << 20)


@pytest.mark.parametrize("lost", ["a lost call's", "an ordinary call's"])
def test_hours_after_the_answer_was_lost_the_hosts_newer_write_still_wins(
    lost: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lost == "a lost call's":
        host.spool_lost_call([("key", b"OLD")])
    else:
        host.spool(("key", b"OLD"))
    host.spool(*[(f"{number}", b"") for number in range(A_CALL)], ("key", b"NEW"))
    with monkeypatch.context() as patch:
        lose_answers(patch)
        with pytest.raises(QueueUnavailable, match="lost"):
            host.replay()
    host.let_pass(HOURS)
    host.replay()
    assert (host.waiting, host.body("key")) == (0, b"NEW")
    assert host.accepted() == A_CALL + 2


@pytest.mark.parametrize("trouble", ["the second shard is full", "the first's answer is lost", "the second's is"])
def test_what_one_shard_has_accepted_is_known_when_another_does_not_answer(
    trouble: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = host.seen.client
    host.make_shards(2)
    (key, *_), others = names(0, 1), names(1, A_CALL)
    host.spool((key, b"OLD"), *[(other, b"") for other in others], (key, b"NEW"))
    second = f"{key_prefix(host.queue, 1, 2)}meta"
    with monkeypatch.context() as patch:
        if trouble == "the second shard is full":
            limit = client.hget(second, "items")
            client.hset(second, "items", 1)
            for _ in range(2):
                with pytest.raises(QueueFull):
                    host.replay()
            client.hset(second, "items", limit or 1000)
        else:
            # The first call tells how many shards there are.
            lose_answers(patch, after=1 if trouble == "the first's answer is lost" else 2)
            with pytest.raises(QueueUnavailable, match="lost"):
                host.replay()
    host.let_pass(HOURS)
    host.replay()
    assert (host.waiting, host.body(key, 0, 2)) == (0, b"NEW")
    assert host.accepted() == A_CALL + 2, "each counts once"


def test_a_call_of_many_shards_that_one_refuses_is_sent_again_without_what_another_has(host: Host) -> None:
    client: Any = host.seen.client
    (old, *_), others = names(0, 1), names(1, 2)
    caller = Caller(host.options)  # which knows of one shard
    keys = [*others, old]
    host.append([[pack(caller.check(Write(key=key, body=b"OLD")))] for key in keys], caller.last_call)
    host.make_shards(2)
    client.hset(f"{key_prefix(host.queue, 1, 2)}meta", "items", 1)
    with pytest.raises(QueueFull):
        host.replay()
    stats = spool_stats(str(host.directory), host.queue)
    assert (stats.writes, stats.replayed, stats.superseded) == (2, 1, 0)
    client.hset(f"{key_prefix(host.queue, 1, 2)}meta", "items", 100)
    host.replay()
    stats = spool_stats(str(host.directory), host.queue)
    assert (stats.writes, stats.bytes, stats.replayed, stats.superseded) == (0, 0, 3, 0)
