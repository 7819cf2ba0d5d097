"""The disk of Redis's append-only file is full: writes are refused whole, and taken again when there is room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from penstock import Producer, QueueUnavailable, Write
from penstock.queue.record import LARGE_BODY
from penstock_worker.demo.servers import RedisServer, ServerError
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.producers import KINDS, AnyProducer, Seen
from tests.support.recovery import Trial
from tests.support.small_disk import CannotMountError, full, small_disk
from tests.support.wait import wait_until
from tests.support.worker import BUCKET

pytestmark = pytest.mark.faults

LIMIT = 60.0
"""Seconds, against hangs only."""
TIMEOUT = 1.0
MANY_ATTEMPTS = 100


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with small_disk(tmp_path / "disk") as disk:
            yield disk
    except CannotMountError as error:
        pytest.skip(str(error))


@pytest.fixture
def redis_server(request: pytest.FixtureRequest, disk: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    appendfsync = getattr(request, "param", "everysec")
    with RedisServer(disk, appendfsync=appendfsync, executable=redis_executable) as server:
        yield server


def refuses(url: str, queue: str) -> bool:
    """Whether Redis has noticed: it takes what comes until it first writes to its file."""
    with Producer(url, queue=f"{queue}-other", bucket=BUCKET, timeout=TIMEOUT) as producer:
        try:
            producer.put("any", bytes(LARGE_BODY))
        except QueueUnavailable as error:
            return "MISCONF" in str(error)
        return False


@pytest.mark.parametrize("kind", KINDS, ids=["threads", "asyncio"])
def test_while_the_disk_is_full_every_call_is_refused_and_nothing_of_it_accepted(
    redis_server: RedisServer, disk: Path, queue_name: str, kind: type[AnyProducer]
) -> None:
    url, seen = redis_server.url, Seen(redis_server.url, queue_name)
    with kind(url, queue=queue_name, bucket=BUCKET, timeout=TIMEOUT) as producer:
        producer.put("before", b"body")
        with full(disk):
            wait_until(partial(refuses, url, queue_name), LIMIT, "Redis has noticed")
            for body in (b"small", bytes(LARGE_BODY)):
                with pytest.raises(QueueUnavailable, match="MISCONF") as caught:
                    producer.put("during", body)
                assert not caught.value.maybe_accepted
            with pytest.raises(QueueUnavailable, match="MISCONF") as caught:
                producer.put_many([Write(key=f"{number}", body=b"body") for number in range(600)])
            assert not caught.value.maybe_accepted
            assert caught.value.receipts == ()
            assert seen.accepted() == 1
            assert not seen.keys("blob:")
        wait_until(lambda: not refuses(url, queue_name), LIMIT, "Redis writes again")
        assert not producer.put("during", b"body").coalesced
    assert sorted(seen.records()) == [f"{BUCKET}/before", f"{BUCKET}/during"]
    seen.close()


@contextmanager
def dying(disk: Path, server: RedisServer) -> Iterator[None]:
    """Under always Redis ends, as it could not keep what it has carried out. Somebody makes room, and starts it."""
    with full(disk):
        wait_until(lambda: not is_alive(server), LIMIT, "Redis has ended")
        yield
    server.stop()
    server.start()


def is_alive(server: RedisServer) -> bool:
    try:
        server.require_alive()
    except ServerError:
        return False
    return True


@pytest.mark.parametrize("redis_server", ["everysec", "always"], indirect=True)
def test_a_disk_that_gets_full_under_load_loses_nothing(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    disk: Path,
    queue_name: str,
    store: FaultS3,
    oracle: Oracle,
    fleet: Fleet,
) -> None:
    fleet.start_some(2, max_attempts=MANY_ATTEMPTS)
    appendfsync = request.node.callspec.params["redis_server"]
    refuse, die = partial(full, disk), partial(dying, disk, redis_server)
    fault: Callable[[], AbstractContextManager[None]] = die if appendfsync == "always" else refuse
    Trial(redis_server.url, queue_name, store, oracle).run(f"full disk, {appendfsync}", fault)
