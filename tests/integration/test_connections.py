"""Redis behind Sentinel and as a cluster: producers and workers find the server that takes their writes, and again."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock import Producer, QueueUnavailable
from penstock.queue.client import Queue
from penstock.queue.connection import DEAD_LINK_SECONDS, open_client
from penstock_worker.demo.servers import RedisServer
from tests.support.cluster_servers import ClusterServers
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer
from tests.support.sentinel_servers import SERVICE, SentinelServers
from tests.support.stale_sentinel import stale_sentinel
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until

LIMIT = 60.0
"""Seconds, against hangs only."""
IDLE = 4
"""Connections that a client keeps."""


def put(producer: AnyProducer, key: str) -> None:
    """Until it is accepted."""

    def accepted() -> bool:
        try:
            return producer.put(key, b"body", bucket=BUCKET).seq > 0
        except QueueUnavailable:
            return False

    wait_until(accepted, LIMIT, f"{key} is accepted")


def items(queue: Queue) -> int:
    """Until it is told."""

    def told() -> int | None:
        try:
            return queue.stats().items + 1
        except redis.RedisError:
            return None

    return (wait_until(told, LIMIT, "the queue is looked at") or 0) - 1


def fill_pool(queue: Queue) -> None:
    """Makes IDLE connections and leaves them idle."""
    with ThreadPoolExecutor(IDLE) as threads:
        list(threads.map(lambda _: queue.client.blpop([queue.prefix + "no-such-key"], timeout=0.2), range(IDLE)))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux's TCP_USER_TIMEOUT")
def test_a_way_that_carries_nothing_is_given_up_long_before_a_slow_answer(redis_url: str) -> None:
    """So workers resume soon after a network's return, and bear a Redis that a script blocks."""
    with open_client(redis_url, LIMIT) as client:
        connection: Any = client.connection_pool.get_connection()
        given_up = connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
        assert given_up == connection.socket_connect_timeout == DEAD_LINK_SECONDS
        assert connection._sock.gettimeout() == LIMIT
        client.connection_pool.release(connection)


@pytest.mark.parametrize("kind", KINDS)
def test_a_producer_and_a_workers_client_follow_a_failover_of_sentinels(
    kind: Callable[..., AnyProducer], sentinel_servers: SentinelServers, queue_name: str
) -> None:
    old = sentinel_servers.master()
    url = sentinel_servers.url
    with kind(url, queue=queue_name) as producer, open_client(url, HANG, queue_name) as client:
        queue = Queue(client, queue_name)
        put(producer, "before")
        assert items(queue) == 1
        with open_client(f"redis://127.0.0.1:{old.port}", HANG) as direct:
            # Else the replica may not have it: it gets writes after they were answered.
            direct.wait(1, int(LIMIT * 1000))
        old.kill()
        put(producer, "after")
        wait_until(lambda: sentinel_servers.master_port() != old.port, LIMIT, "the first Sentinel knows the new master")
        assert items(queue) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_producer_and_a_workers_client_follow_a_failover_in_a_cluster(
    kind: Callable[..., AnyProducer], tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    with ClusterServers(tmp_path, executable=redis_executable, replicas=1) as cluster:
        slot = cluster.slot_of(queue_name)
        old = cluster.owner(slot)
        with kind(cluster.url, queue=queue_name) as producer, open_client(cluster.url, HANG, queue_name) as client:
            queue = Queue(client, queue_name)
            put(producer, "before")
            assert items(queue) == 1
            old.client.wait(1, int(LIMIT * 1000))
            old.server.kill()
            put(producer, "after")
            assert items(queue) == 2
            assert cluster.owner(slot) is not old


def test_every_queue_is_reached_on_the_node_that_has_its_slot(cluster: ClusterServers, queue_name: str) -> None:
    owners = set()
    for number in range(8):
        name = f"{queue_name}-{number}"
        owner = cluster.owner(cluster.slot_of(name))
        owners.add(owner.port)
        with Producer(cluster.url, queue=name) as producer, open_client(cluster.url, HANG, name) as client:
            put(producer, "key")
            assert items(Queue(client, name)) == 1
            assert client.info("server")["tcp_port"] == owner.port
    assert len(owners) > 1


def test_a_sleeping_worker_is_woken_on_the_node_that_has_its_queue(cluster: ClusterServers, queue_name: str) -> None:
    with (
        Producer(cluster.url, queue=queue_name) as producer,
        open_client(cluster.url, HANG, queue_name) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        woken = thread.submit(Queue(client, queue_name).wait_for_wake_up, HANG / 2)
        owner = cluster.owner(cluster.slot_of(queue_name)).client
        wait_until(lambda: owner.info("clients")["blocked_clients"], LIMIT, "it sleeps")
        put(producer, "key")
        assert woken.result(HANG)


def test_after_a_slot_has_moved_one_refusal_renews_all_of_a_clients_connections(
    cluster: ClusterServers, queue_name: str
) -> None:
    slot = cluster.slot_of(queue_name)
    target = next(node for node in cluster.masters if node is not cluster.owner(slot))
    with open_client(cluster.url, HANG, queue_name) as client, Producer(cluster.url, queue=queue_name) as producer:
        queue = Queue(client, queue_name)
        put(producer, "key")
        fill_pool(queue)
        source = cluster.begin_move(slot, target)
        while cluster.move_keys(slot, source, target):
            pass
        cluster.end_move(slot, source, target)
        with pytest.raises(redis.exceptions.TryAgainError, match="MOVED"):
            queue.stats()
        with ThreadPoolExecutor(IDLE) as threads:
            found = list(threads.map(lambda _: queue.stats().items, range(IDLE)))
        assert found == [1] * IDLE
        assert producer.put("other", b"body", bucket=BUCKET).seq


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_that_are_gone_or_stand_still_leave_time_for_one_that_answers(
    kind: Callable[..., AnyProducer], cluster: ClusterServers, queue_name: str
) -> None:
    owner = cluster.owner(cluster.slot_of(queue_name))
    # Not the owner, of course; and thawed before the others take it for dead.
    frozen = next(node for node in cluster.masters if node is not owner)
    alive = next(node for node in cluster.masters if node not in (owner, frozen))
    url = f"redis+cluster://127.0.0.1:{closed_port()},127.0.0.1:{frozen.port},127.0.0.1:{alive.port}"
    with kind(url, queue=queue_name, timeout=10.0) as producer:
        frozen.server.freeze()
        try:
            assert producer.put("key", b"body", bucket=BUCKET).seq
        finally:
            frozen.server.thaw()
    cluster.wait_until_ok()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["redis+cluster://{}", "redis+sentinel://{}/name"])
def test_looking_for_the_master_keeps_the_time_limit(
    kind: Callable[..., AnyProducer], scheme: str, tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        url = scheme.format(",".join([f"127.0.0.1:{server.port}"] * 5))
        with kind(url, queue=queue_name, timeout=1.0) as producer:
            server.freeze()
            began = time.monotonic()
            with pytest.raises(QueueUnavailable) as caught:
                producer.put("key", b"body", bucket=BUCKET)
            assert not caught.value.maybe_accepted
            assert time.monotonic() - began < HANG
            server.thaw()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_replica", [False, True])
def test_who_tells_of_a_master_that_is_none_is_asked_last_from_then_on(
    kind: Callable[..., AnyProducer], is_replica: bool, sentinel_servers: SentinelServers, queue_name: str
) -> None:
    with stale_sentinel(sentinel_servers.servers[1].port if is_replica else closed_port()) as port:
        url = sentinel_servers.url.replace("sentinel://", f"sentinel://127.0.0.1:{port},")
        with kind(url, queue=queue_name, timeout=3.0) as producer:
            assert producer.put("key", b"body", bucket=BUCKET).seq
        with open_client(url, LIMIT, queue_name) as client:
            queue = Queue(client, queue_name)
            with suppress(redis.RedisError):
                queue.sweep(max_attempts=1)
            assert items(queue) == 1
            queue.sweep(max_attempts=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_sentinel_does_not_know_is_named(
    kind: Callable[..., AnyProducer], sentinel_servers: SentinelServers, queue_name: str
) -> None:
    url = sentinel_servers.url.replace(SERVICE, "other")
    with (
        kind(url, queue=queue_name, timeout=0.5) as producer,
        pytest.raises(QueueUnavailable, match=r"no master just now.*no service 'other'") as caught,
    ):
        producer.put("key", b"body", bucket=BUCKET)
    assert not caught.value.maybe_accepted


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_of_the_wrong_kind_is_told(
    kind: Callable[..., AnyProducer], cluster: ClusterServers, redis_server: RedisServer, queue_name: str
) -> None:
    slot = cluster.slot_of(queue_name)
    wrong = random.choice([node for node in cluster.masters if node is not cluster.owner(slot)])
    with (
        kind(f"redis://127.0.0.1:{wrong.port}/0", queue=queue_name) as producer,
        pytest.raises(QueueUnavailable, match=r"a node of a cluster: write PENSTOCK_REDIS_URL as redis\+cluster://"),
    ):
        producer.put("key", b"body", bucket=BUCKET)
    with (
        kind(f"redis+cluster://127.0.0.1:{redis_server.port}", queue=queue_name) as producer,
        pytest.raises(QueueUnavailable, match="cluster support disabled"),
    ):
        producer.put("key", b"body", bucket=BUCKET)
