"""Answers that are lost, connections that break, scripts that vanish: through a proxy, for both producers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock import Producer, QueueUnavailable, Write
from penstock.queue.names import LAYOUT_VERSION
from penstock.queue.record import LARGE_BODY
from penstock_worker.demo.servers import RedisServer
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer, Seen
from tests.support.proxy import Mode, Proxy

pytestmark = [pytest.mark.integration, pytest.mark.faults]

TIMEOUT = 1.0
"""A call's time limit where a test waits for its end."""


@pytest.fixture
def seen(redis_url: str, queue_name: str) -> Iterator[Seen]:
    seen = Seen(redis_url, queue_name)
    yield seen
    seen.close()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(params=KINDS, ids=["threads", "asyncio"])
def kind(request: pytest.FixtureRequest) -> type[AnyProducer]:
    made: type[AnyProducer] = request.param
    return made


@pytest.fixture
def producer(kind: type[AnyProducer], proxy: Proxy, queue_name: str) -> Iterator[AnyProducer]:
    """One with plenty of time, connected."""
    with kind(proxy.url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
        producer.put("first", b"")
        yield producer


@pytest.fixture
def hasty(kind: type[AnyProducer], proxy: Proxy, queue_name: str) -> Iterator[AnyProducer]:
    """One with little time, connected."""
    with kind(proxy.url, bucket=BUCKET, queue=queue_name, timeout=TIMEOUT) as producer:
        producer.put("first", b"")
        yield producer


def sends(proxy: Proxy) -> int:
    return proxy.seen.count(b"EVALSHA")


def unavailable(producer: AnyProducer, key: str = "key") -> QueueUnavailable:
    with pytest.raises(QueueUnavailable) as caught:
        producer.put(key, b"body")
    assert "127.0.0.1" in str(caught.value) or "did not answer" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("body", [b"body", bytes(LARGE_BODY)], ids=["small", "large"])
def test_a_call_whose_answer_was_lost_is_sent_again_and_counted_once(
    producer: AnyProducer, proxy: Proxy, seen: Seen, body: bytes
) -> None:
    before = sends(proxy)
    proxy.mode = Mode.LOSE_REPLY
    receipt = producer.put("key", body)
    assert sends(proxy) - before == 2
    assert seen.accepted() == 2
    assert not receipt.coalesced  # the answer of the first time, though the second time a write was waiting
    assert seen.records()[f"{BUCKET}/key"].seq == receipt.seq
    assert seen.body(f"{BUCKET}/key") == body
    assert all(seen.client.ttl(key) == -1 for key in seen.keys("blob:"))


def test_many_whose_answer_was_lost_are_counted_once(producer: AnyProducer, proxy: Proxy, seen: Seen) -> None:
    proxy.mode = Mode.LOSE_REPLY
    receipts = producer.put_many([Write(key=f"key/{number}", body=b"") for number in range(300)])
    assert seen.accepted() == 301
    records = seen.records()
    assert [records[f"{BUCKET}/key/{number}"].seq for number in range(300)] == [receipt.seq for receipt in receipts]


def test_when_all_answers_are_lost_the_write_may_have_been_accepted(
    hasty: AnyProducer, proxy: Proxy, seen: Seen
) -> None:
    before = sends(proxy)
    proxy.mode = Mode.DROP_REPLIES
    assert unavailable(hasty).maybe_accepted
    assert 1 <= sends(proxy) - before <= 3
    assert seen.accepted() == 2  # and so it was, once
    proxy.mode = Mode.PASS
    assert hasty.put("key", b"again").coalesced


def test_a_call_that_was_cut_off_once_may_have_been_accepted_though_no_other_was_sent(
    hasty: AnyProducer, proxy: Proxy
) -> None:
    before = sends(proxy)
    proxy.mode = Mode.RESET  # the handshake of every new connection as well
    assert unavailable(hasty).maybe_accepted
    assert sends(proxy) - before == 1


def test_when_nothing_could_be_sent_nothing_was_accepted(
    kind: type[AnyProducer], proxy: Proxy, queue_name: str
) -> None:
    for mode in (Mode.REFUSE, Mode.RESET, Mode.STALL):
        proxy.mode = mode
        with kind(proxy.url, bucket=BUCKET, queue=queue_name, timeout=TIMEOUT) as producer:
            assert not unavailable(producer).maybe_accepted
    assert sends(proxy) == 0


def test_a_connection_that_was_closed_while_idle_costs_nothing(producer: AnyProducer, proxy: Proxy, seen: Seen) -> None:
    before, connections = sends(proxy), proxy.connections
    for number in range(3):
        assert seen.kill_producers() >= 1
        producer.put(f"key/{number}", b"")
    assert sends(proxy) - before <= 6
    assert proxy.connections == connections + 3
    assert seen.accepted() == 4


def test_nothing_is_sent_into_a_connection_that_is_known_to_be_dead(
    hasty: AnyProducer, proxy: Proxy, seen: Seen
) -> None:
    before = sends(proxy)
    proxy.mode = Mode.REFUSE  # resets what stands
    assert not unavailable(hasty).maybe_accepted
    assert sends(proxy) == before
    proxy.mode = Mode.PASS
    hasty.put("key", b"body")
    assert seen.accepted() == 2


def test_a_redis_that_comes_back_within_the_time_limit_is_waited_for(producer: AnyProducer, proxy: Proxy) -> None:
    proxy.mode = Mode.REFUSE
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(producer.put, "key", b"")
        assert not call.done()
        proxy.mode = Mode.PASS
        assert call.result(HANG).seq > 0


@pytest.mark.parametrize("body", [b"body", bytes(LARGE_BODY)], ids=["small", "large"])
def test_a_script_that_redis_forgot_is_loaded_again(
    producer: AnyProducer, proxy: Proxy, seen: Seen, body: bytes
) -> None:
    connections = proxy.connections
    seen.client.script_flush()
    producer.put("key", body)
    assert seen.body(f"{BUCKET}/key") == body
    assert seen.accepted() == 2
    assert proxy.connections == connections


def test_an_error_leaves_no_answer_behind_for_the_next_call(producer: AnyProducer, seen: Seen) -> None:
    """A large body's reply comes before the script's error; both must be read, or the next put gets the wrong one."""
    meta = next(key for key in seen.keys("meta"))
    for number in range(3):
        seen.client.hset(meta, "layout", "999")
        with pytest.raises(Exception, match="layout 999"):
            producer.put("large", bytes(LARGE_BODY))
        seen.client.hset(meta, "layout", LAYOUT_VERSION)
        receipt = producer.put(f"key/{number}", b"")
        assert seen.records()[f"{BUCKET}/key/{number}"].seq == receipt.seq


def test_threads_that_wait_while_redis_is_away_are_told_that_nothing_was_sent(proxy: Proxy, queue_name: str) -> None:
    with Producer(proxy.url, bucket=BUCKET, queue=queue_name, timeout=TIMEOUT) as producer:
        producer.put("first", b"")
        before = sends(proxy)
        proxy.mode = Mode.REFUSE
        with ThreadPoolExecutor(16) as threads:
            calls = [threads.submit(unavailable, producer, f"key/{number}") for number in range(32)]
            assert not any(call.result(HANG).maybe_accepted for call in calls)
        assert sends(proxy) == before


class Interrupt(BaseException):
    """As Ctrl-C, or Celery's soft time limit."""


def test_a_call_interrupted_while_it_waits_for_its_answer_does_not_get_the_next_ones(
    proxy: Proxy, queue_name: str, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between sending and reading, where redis-py cannot see it: the answer is still on its way."""
    with Producer(proxy.url, bucket=BUCKET, queue=queue_name, timeout=HANG) as producer:
        producer.put("first", b"")
        line = producer._shards._first._channel._line

        def interrupted(replies: int, deadline: float, waits: bool) -> tuple[object, object]:
            raise Interrupt

        with monkeypatch.context() as patched:
            patched.setattr(line, "_read", interrupted)
            with pytest.raises(Interrupt):
                producer.put("interrupted", b"")
        receipts = {key: producer.put(key, b"") for key in ("a", "b")}
    records = seen.records()
    assert all(records[f"{BUCKET}/{key}"].seq == receipt.seq for key, receipt in receipts.items())
