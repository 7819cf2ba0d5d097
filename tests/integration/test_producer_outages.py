"""A Redis that is killed, frozen, full, locked, or not there at all: real processes, both producers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock import PenstockError, Producer, QueueUnavailable
from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer, Seen
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.faults]

TIMEOUT = 1.0
HANGS = 3 * TIMEOUT
"""A call that takes longer than this does not keep its time limit: a check for hangs, not for speed."""

LATE = 4.0
"""A time limit so long that a quarter of it is plenty for a busy machine: without one, half of it came on top."""

Make = Callable[..., RedisServer]


@pytest.fixture
def start_redis(tmp_path: Path, redis_executable: str | None) -> Iterator[Make]:
    servers: list[RedisServer] = []

    def start(*extra: str) -> RedisServer:
        server = RedisServer(
            tmp_path / str(len(servers)), appendfsync="always", executable=redis_executable, extra=extra
        )
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=KINDS, ids=["threads", "asyncio"])
def kind(request: pytest.FixtureRequest) -> type[AnyProducer]:
    made: type[AnyProducer] = request.param
    return made


def error_in_time(call: Callable[[], object]) -> QueueUnavailable:
    begin = time.monotonic()
    with pytest.raises(QueueUnavailable) as caught:
        call()
    assert time.monotonic() - begin < HANGS, "the time limit does not hold"
    return caught.value


def test_puts_go_on_after_redis_was_killed_and_started_again(kind: type[AnyProducer], start_redis: Make) -> None:
    server = start_redis()
    with kind(server.url, bucket=BUCKET, timeout=HANG) as producer:
        for number in range(3):
            producer.put(f"key/{number}", b"body")
            server.kill()
            server.start()
        last = producer.put("last", b"body")
    seen = Seen(server.url, "default")
    records = seen.records()
    assert sorted(records) == [f"{BUCKET}/{key}" for key in ("key/0", "key/1", "key/2", "last")]
    assert records[f"{BUCKET}/last"].seq == last.seq
    seen.close()


def test_a_killed_redis_is_a_clear_error_in_time_and_nothing_was_sent(
    kind: type[AnyProducer], start_redis: Make
) -> None:
    server = start_redis()
    with kind(server.url, bucket=BUCKET, timeout=TIMEOUT) as producer:
        producer.put("key", b"body")
        server.kill()
        error = error_in_time(lambda: producer.put("key", b"body"))
        assert not error.maybe_accepted
        assert str(server.port) in str(error)
        server.start()
        assert producer.put("key", b"body").coalesced


def test_a_frozen_redis_costs_the_time_limit_and_no_more(kind: type[AnyProducer], start_redis: Make) -> None:
    """Its kernel still takes connections and bytes; nothing ever answers."""
    server = start_redis()
    with (
        kind(server.url, bucket=BUCKET, timeout=TIMEOUT) as producer,
        kind(server.url, bucket=BUCKET, timeout=TIMEOUT) as stranger,
    ):
        producer.put("key", b"body")
        server.freeze()
        assert error_in_time(lambda: producer.put("key", b"frozen")).maybe_accepted
        assert not error_in_time(lambda: stranger.put("key", b"frozen")).maybe_accepted
        assert not error_in_time(lambda: producer.put("other", b"frozen")).maybe_accepted
        server.thaw()
        assert producer.put("last", b"body").seq > 0
    seen = Seen(server.url, "default")
    # What was sent to the frozen one was taken when it thawed: once, before the later write.
    assert seen.records()[f"{BUCKET}/key"].seq < seen.records()[f"{BUCKET}/last"].seq
    assert seen.accepted() == 3
    seen.close()


def test_a_caller_that_waited_for_another_keeps_its_time_limit_too(start_redis: Make) -> None:
    """It gets the lead when little of its time is left."""
    server = start_redis()
    with Producer(server.url, bucket=BUCKET, timeout=LATE) as producer, ThreadPoolExecutor(2) as threads:
        producer.put("key", b"body")
        server.freeze()

        def put(name: str) -> float:
            begin = time.monotonic()
            with pytest.raises(QueueUnavailable):
                producer.put(name, b"frozen")
            return time.monotonic() - begin

        first = threads.submit(put, "first")
        time.sleep(LATE / 40)  # not a wait of the test's: the other caller comes a little later
        second = threads.submit(put, "second")
        assert max(first.result(HANG), second.result(HANG)) < LATE * 1.25
        server.thaw()


def test_a_redis_that_thaws_in_time_is_no_error(kind: type[AnyProducer], start_redis: Make) -> None:
    server = start_redis()
    with kind(server.url, bucket=BUCKET, timeout=HANG) as producer:
        producer.put("key/0", b"")
        server.freeze()
        timer = threading.Timer(0.3, server.thaw)
        timer.start()
        assert producer.put("key/1", b"").seq > 0
        timer.join()


def test_a_wrong_password_is_told_at_once_and_not_shown(kind: type[AnyProducer], start_redis: Make) -> None:
    server = start_redis()
    seen = Seen(server.url, "default")
    seen.client.config_set("requirepass", "s3cr3t")
    for url, advice in (
        (f"redis://:wr0ng@127.0.0.1:{server.port}/0", "refused the login"),
        (f"redis://user:wr0ng@127.0.0.1:{server.port}/0", "refused the login"),
        (server.url, "refused the login"),
    ):
        with kind(url, bucket=BUCKET, timeout=HANG) as producer:
            begin = time.monotonic()
            with pytest.raises(QueueUnavailable, match=advice) as caught:
                producer.put("key", b"body")
            assert time.monotonic() - begin < HANG / 2, "a wrong password was tried again and again"
            assert not caught.value.maybe_accepted
            assert "wr0ng" not in str(caught.value) + repr(caught.value.__cause__)
    with kind(f"redis://:s3cr3t@127.0.0.1:{server.port}/0", bucket=BUCKET, timeout=HANG) as producer:
        producer.put("key", b"body")
    assert seen.client.config_set("requirepass", "")
    seen.close()


def test_a_redis_at_its_maxmemory_is_told_with_what_to_do(kind: type[AnyProducer], start_redis: Make) -> None:
    server = start_redis()
    seen = Seen(server.url, "default")
    with kind(server.url, bucket=BUCKET, timeout=HANG) as producer:
        producer.put("key", b"body")
        seen.client.config_set("maxmemory", "1mb")
        for body in (b"small", bytes(100_000)):
            with pytest.raises(QueueUnavailable, match="maxmemory: raise it") as caught:
                producer.put("other", body)
            assert not caught.value.maybe_accepted
        seen.client.config_set("maxmemory", "0")
        producer.put("other", b"body")
    assert seen.accepted() == 2
    seen.close()


def test_a_replica_refuses_and_the_call_says_so(kind: type[AnyProducer], start_redis: Make) -> None:
    server, other = start_redis(), start_redis()
    seen = Seen(server.url, "default")
    with kind(server.url, bucket=BUCKET, timeout=TIMEOUT) as producer:
        producer.put("key", b"body")
        seen.client.replicaof("127.0.0.1", other.port)
        error = error_in_time(lambda: producer.put("key", b"body"))
        assert not error.maybe_accepted
        assert "read only replica" in str(error).lower()
        seen.client.replicaof("NO", "ONE")
        producer.put("key", b"body")
    seen.close()


def test_after_a_failover_the_new_master_is_found_behind_the_same_address(
    kind: type[AnyProducer], start_redis: Make
) -> None:
    """The old master lives on as a replica, and does not close its connections."""
    old, new = start_redis(), start_redis()
    seen = Seen(old.url, "default")
    with Proxy(old.port) as proxy, kind(proxy.url, bucket=BUCKET, timeout=HANG) as producer:
        producer.put("key", b"body")
        seen.client.replicaof("127.0.0.1", new.port)
        sent = proxy.seen.count(b"EVALSHA")
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(producer.put, "key", b"body")
            wait_until(lambda: proxy.seen.count(b"EVALSHA") > sent, HANG, "the replica to be asked")
            proxy.retarget(new.port)
            call.result(HANG)
    seen.close()


def test_a_redis_that_a_script_blocks_is_waited_for_and_then_told(kind: type[AnyProducer], start_redis: Make) -> None:
    server = start_redis("--busy-reply-threshold", "1")
    seen = Seen(server.url, "default")
    blocker = Seen(server.url, "default")
    with kind(server.url, bucket=BUCKET, timeout=TIMEOUT) as producer:
        producer.put("key", b"body")
        connection = blocker.client.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", 0)
        error = error_in_time(lambda: producer.put("key", b"body"))
        # What it had said when the time was over, if it had come to say anything.
        told = ("BUSY", "no answer in time", "Timeout", "did not answer")
        assert any(text in str(error) for text in told), error
        seen.client.script_kill()
        connection.disconnect()
        producer.put("key", b"body")
    for one in (seen, blocker):
        one.close()


def test_no_redis_at_all_is_an_error_that_names_the_address(kind: type[AnyProducer]) -> None:
    for url, name in (("redis://127.0.0.1:1/0", "127.0.0.1:1"), ("redis://no-such-host.invalid:6379", "no-such-host")):
        with kind(url, bucket=BUCKET, timeout=TIMEOUT) as producer:
            error = error_in_time(lambda: producer.put("key", b"body"))
            assert isinstance(error, PenstockError)
            assert name in str(error)
            assert not error.maybe_accepted
