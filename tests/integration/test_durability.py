"""How safe a write is when its call returns: with its server's disk, and its replicas, running and standing still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from penstock import InvalidSetting, NotDurable, Producer, QueueFull, QueueUnavailable, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.demo.process import LOOPBACK
from penstock_worker.demo.servers import RedisServer, all_redis_servers
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer, Seen
from tests.support.queue import ShiftedQueue
from tests.support.sentinel_servers import NO_DELAY
from tests.support.wait import wait_until

LIMIT = 60.0
"""Seconds, against hangs only."""
SHORT = 0.6
"""A call's time limit where what it waits for never comes."""
Kind = Callable[..., AnyProducer]


def has_waitaof(executable: str, directory: Path) -> bool:
    with RedisServer(directory, executable=executable) as server, open_client(server.url, HANG) as client:
        try:
            client.execute_command("WAITAOF", 0, 0, 1)
        except redis.exceptions.ResponseError:
            return False
        return True


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, str]:
    """A server with WAITAOF, and one without, where there are."""
    directory = tmp_path_factory.mktemp("kinds")
    found = {}
    for number, path in enumerate(all_redis_servers()):
        (directory / str(number)).mkdir()
        found[has_waitaof(path, directory / str(number))] = path
    return found


@pytest.fixture
def synced(servers: dict[bool, str]) -> str:
    return servers.get(True) or pytest.skip("no server with WAITAOF here")


class Pair:
    """A master and its replica."""

    def __init__(self, directory: Path, executable: str | None) -> None:
        self._stack = ExitStack()
        (directory / "replica").mkdir()
        self.master = self._stack.enter_context(RedisServer(directory, executable=executable, extra=NO_DELAY))
        follow = (*NO_DELAY, "--replicaof", f"{LOOPBACK} {self.master.port}")
        self.replica = self._stack.enter_context(
            RedisServer(directory / "replica", executable=executable, extra=follow)
        )
        self._stack.callback(self.replica.kill)  # one that writes its first file heeds no SIGTERM
        wait_until(lambda: self.link() == "up", LIMIT, "the replica has its master's data")

    def link(self) -> str:
        with open_client(self.replica.url, HANG) as client:
            return str(client.info("replication")["master_link_status"])

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def pair(tmp_path: Path, redis_executable: str | None) -> Iterator[Pair]:
    both = Pair(tmp_path, redis_executable)
    yield both
    both.close()


def items(server: RedisServer, queue: str) -> int:
    with open_client(server.url, HANG) as client:
        return Queue(client, queue).stats().items


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_replica_has_is_there_when_put_returns(kind: Kind, pair: Pair, queue_name: str) -> None:
    with kind(pair.master.url, queue=queue_name, durability="replicas:1", timeout=HANG) as producer:
        for number in range(20):
            producer.put(f"{number}", b"body", bucket=BUCKET)
            assert items(pair.replica, queue_name) == number + 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_enough_replicas_a_write_is_accepted_and_said_not_to_be_durable(
    kind: Kind, pair: Pair, queue_name: str
) -> None:
    with kind(pair.master.url, queue=queue_name, durability="replicas:2", timeout=SHORT) as producer:
        with pytest.raises(NotDurable, match=r"replicas:2 asks: [01] of 2 replicas") as caught:
            producer.put("key", b"body", bucket=BUCKET)
        (receipt,) = caught.value.receipts
        assert (receipt.key, receipt.coalesced) == ("key", False)
        assert items(pair.master, queue_name) == 1
        # The connection is in step: the next answer is that of the next call.
        with pytest.raises(NotDurable) as again:
            producer.put("key", b"newer", bucket=BUCKET)
        assert again.value.receipts[0].coalesced
        assert again.value.receipts[0].seq > receipt.seq


@pytest.mark.parametrize("kind", KINDS)
def test_a_replica_that_comes_back_in_time_is_waited_for(kind: Kind, pair: Pair, queue_name: str) -> None:
    with kind(pair.master.url, queue=queue_name, durability="replicas:1", timeout=HANG) as producer:
        pair.replica.freeze()
        with open_client(pair.master.url, HANG) as client, ThreadPoolExecutor(1) as threads:
            call = threads.submit(producer.put, "key", b"body", bucket=BUCKET)
            wait_until(lambda: client.info("clients")["blocked_clients"], LIMIT, "the call waits")
            assert not call.done()
            pair.replica.thaw()
            assert call.result(HANG).seq
        assert items(pair.replica, queue_name) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_put_many_says_what_was_accepted_with_the_chunk_that_is_not_durable(
    kind: Kind, pair: Pair, queue_name: str
) -> None:
    with kind(pair.master.url, queue=queue_name, durability="replicas:1", timeout=HANG) as producer:
        producer.put("first", b"body", bucket=BUCKET)
    pair.replica.kill()
    with (
        kind(pair.master.url, queue=queue_name, durability="replicas:1", timeout=SHORT) as producer,
        pytest.raises(NotDurable) as caught,
    ):
        producer.put_many([Write(key=f"{number}", body=b"body", bucket=BUCKET) for number in range(300)])
    # The first chunk ends it; the second is not sent.
    assert [receipt.key for receipt in caught.value.receipts] == [f"{number}" for number in range(256)]
    assert items(pair.master, queue_name) == 257


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_refused_is_refused_and_not_called_accepted(kind: Kind, pair: Pair, queue_name: str) -> None:
    seen = Seen(pair.master.url, queue_name)
    seen.limit(items=1)
    with kind(pair.master.url, queue=queue_name, durability="replicas:2", timeout=SHORT) as producer:
        with pytest.raises(NotDurable):
            producer.put("one", b"body", bucket=BUCKET)
        with pytest.raises(QueueFull):
            producer.put("two", b"body", bucket=BUCKET)
    seen.close()


@pytest.mark.parametrize("kind", KINDS)
def test_fsync_returns_when_the_disk_has_it(kind: Kind, synced: str, tmp_path: Path, queue_name: str) -> None:
    # Synced each second by itself: without waiting, a crash would lose the write.
    with RedisServer(tmp_path, executable=synced) as server:
        with kind(server.url, queue=queue_name, durability="fsync", timeout=HANG) as producer:
            producer.put("key", b"body", bucket=BUCKET)
            with open_client(server.url, HANG) as client:
                assert client.execute_command("INFO", "commandstats")["cmdstat_waitaof"]["calls"] >= 2
        server.kill()
        server.start()
        assert items(server, queue_name) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_fsync_is_not_durable_where_redis_leaves_it_to_the_kernel(
    kind: Kind, synced: str, tmp_path: Path, queue_name: str
) -> None:
    with (
        RedisServer(tmp_path, executable=synced, appendfsync="no") as server,
        kind(server.url, queue=queue_name, durability="fsync", timeout=SHORT) as producer,
        pytest.raises(NotDurable, match="had not synced it to its disk"),
    ):
        producer.put("key", b"body", bucket=BUCKET)


@pytest.mark.parametrize("kind", KINDS)
def test_fsync_is_refused_by_a_server_without_a_file(kind: Kind, synced: str, tmp_path: Path, queue_name: str) -> None:
    with RedisServer(tmp_path, executable=synced, extra=("--appendonly", "no")) as server:
        with (
            kind(server.url, queue=queue_name, durability="fsync", timeout=HANG) as producer,
            pytest.raises(InvalidSetting, match=r"PENSTOCK_DURABILITY=fsync cannot be had.*appendonly yes"),
        ):
            producer.put("key", b"body", bucket=BUCKET)
        assert items(server, queue_name) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_fsync_is_refused_by_a_server_that_cannot_tell(
    kind: Kind, servers: dict[bool, str], tmp_path: Path, queue_name: str
) -> None:
    old = servers.get(False) or pytest.skip("no server without WAITAOF here")
    with RedisServer(tmp_path, executable=old) as server:
        with (
            kind(server.url, queue=queue_name, durability="fsync", timeout=HANG) as producer,
            pytest.raises(InvalidSetting, match=r"no WAITAOF: Redis 7\.2 or Valkey is needed"),
        ):
            producer.put("key", b"body", bucket=BUCKET)
        assert items(server, queue_name) == 0


@pytest.mark.parametrize("executable", all_redis_servers())
def test_a_call_that_is_sent_again_writes_so_that_there_is_something_to_wait_for(
    executable: str, tmp_path: Path, queue_name: str
) -> None:
    with RedisServer(tmp_path, executable=executable) as server:
        queue = ShiftedQueue(server.url, queue_name)
        write = queue.put("key")
        offsets = []
        for _ in range(2):
            queue.send([[write]], number=1)
            offsets.append(int(queue.client.info("persistence")["aof_current_size"]))
        assert queue.stats().items == 1
        assert offsets[1] > offsets[0]
        queue.close()


@pytest.mark.parametrize("durability", ["disk", "replicas", "replicas:0", "replicas:-1", "replicas:100", "", 1, None])
@pytest.mark.parametrize("kind", KINDS)
def test_a_durability_that_is_none_is_refused(kind: Kind, durability: object) -> None:
    with pytest.raises(InvalidSetting, match="PENSTOCK_DURABILITY"):
        kind("redis://localhost", durability=durability)


def test_a_producer_takes_its_durability_from_the_environment(
    pair: Pair, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"REDIS_URL": pair.master.url, "QUEUE": queue_name, "DURABILITY": "replicas:3"}.items():
        monkeypatch.setenv(f"PENSTOCK_{name}", value)
    monkeypatch.setenv("PENSTOCK_PRODUCER_TIMEOUT", str(SHORT))
    with Producer.from_env() as producer, pytest.raises(NotDurable, match=r"[01] of 3 replicas"):
        producer.put("key", b"body", bucket=BUCKET)
    monkeypatch.setenv("PENSTOCK_DURABILITY", "always")
    with pytest.raises(InvalidSetting, match="PENSTOCK_DURABILITY"):
        Producer.from_env()


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_master_that_is_demoted_while_a_call_waits_no_answer_counts(
    kind: Kind, pair: Pair, queue_name: str
) -> None:
    """It may throw away what it accepted."""
    with kind(pair.master.url, queue=queue_name) as producer:
        producer.put("script", b"is loaded", bucket=BUCKET)
    with (
        kind(pair.master.url, queue=queue_name, durability="replicas:2", timeout=4.0) as producer,
        open_client(pair.master.url, HANG) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        call = threads.submit(producer.put, "key", b"body", bucket=BUCKET)
        wait_until(lambda: client.info("clients")["blocked_clients"], LIMIT, "the call waits")
        client.replicaof(LOOPBACK, pair.replica.port)
        with pytest.raises(QueueUnavailable) as caught:  # nobody leads to the new master here
            call.result(HANG)
        assert caught.value.maybe_accepted
