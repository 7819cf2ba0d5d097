"""A worker of a queue with three shards: a real process, claims of each shard, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from penstock import Producer, Write
from penstock.queue.names import shard_of
from penstock.queue.reshard import reshard
from penstock.queue.sharded import ShardedQueue
from penstock.queue.workers import alive
from tests.support.load import Load
from tests.support.memory_s3 import STALL, MemoryS3, error, slow
from tests.support.shards import end_all, sharded
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

SHARDS = 3
LIMIT = 60.0
"""Seconds, against hangs only."""
LEASE = 3.0


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[ShardedQueue]:
    with sharded(redis_url, queue_name, SHARDS) as queue:
        yield queue


def shard(key: str) -> int:
    return shard_of(f"{BUCKET}/{key}".encode(), SHARDS)


def each(queue: ShardedQueue, what: str) -> list[int]:
    return [getattr(one.stats(), what) for one in queue.shards]


def test_writes_of_all_shards_are_stored_the_last_one_of_a_key_last(
    redis_url: str, queue_name: str, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    with Load(redis_url, queue_name) as load:
        wait_until(lambda: load.accepted >= 600 and len(sink.requests) >= 300, LIMIT, "the load runs")
        load.stop()
        assert wait_until_drained(queue).dead == 0
    load.check(sink.objects)
    assert all(sum(one.stats().accepted.values()) for one in queue.shards), "a shard got nothing"
    assert worker.events("worker_started")[0]["shards"] == SHARDS
    assert {line["shard"] for line in worker.events("redis_unavailable")} == set()
    assert worker.told().metrics().value("penstock_queue_limit", unit="items") == 1_000_000


def test_urgent_writes_leave_before_a_backlog_of_all_shards(
    producer: Producer, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: slow(0.01)
    producer.put_many([Write(key=f"low/{n}", body=b"", priority="low") for n in range(1500)])
    start_worker(batch_max_items=10, upload_concurrency=4, upload_concurrency_max=4)
    wait_until(lambda: len(sink.puts()) > 50, LIMIT, "the backlog is worked on")
    producer.put_many([Write(key=f"urgent/{n}", body=b"", priority="critical") for n in range(60)])
    accepted = len(sink.puts())

    def urgent() -> list[int]:
        return [at for at, one in enumerate(sink.puts()) if one.key.startswith("urgent/")]

    wait_until(lambda: len(urgent()) == 60, LIMIT, "all that is urgent is sent")
    passed = urgent()[-1] - accepted - 60
    assert passed < 500, f"{passed} writes of the backlog went before the last urgent one"
    wait_until_drained(queue)
    assert len(sink.objects) == 1560


def test_the_writes_of_a_killed_worker_are_taken_over_in_every_shard(
    producer: Producer, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    killed = start_worker(lease_seconds=LEASE, request_timeout=LIMIT, upload_concurrency=30)
    keys = [f"{n}" for n in range(30)]
    producer.put_many([Write(key=key, body=b"body") for key in keys])
    wait_until(lambda: len(sink.puts()) >= 30, LIMIT, "all uploads are under way")
    assert each(queue, "inflight") == [sum(shard(key) == number for key in keys) for number in range(SHARDS)]
    sink.judge = lambda request: None
    killed.kill()
    other = start_worker(lease_seconds=LEASE)
    wait_until_drained(queue)
    assert len(sink.objects) == 30
    taken = [line["shard"] for line in other.events("claims_taken_back")]
    assert set(taken) == set(range(SHARDS))


def test_slow_uploads_of_every_shard_keep_their_leases(
    producer: Producer, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    for _ in range(2):  # each would sweep the other's claims
        start_worker(lease_seconds=1, request_timeout=LIMIT, upload_concurrency=30)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(30)])
    wait_until(lambda: len(sink.puts()) >= 30, LIMIT, "all uploads are under way")

    def lease_ends() -> list[float]:
        return [
            end
            for one in queue.shards
            for _, end in cast(
                "list[tuple[bytes, float]]", one.client.zrange(one.prefix + "lease", 0, -1, withscores=True)
            )
        ]

    first = max(lease_ends())
    wait_until(lambda: min(lease_ends()) > first + 3e6, LIMIT, "all were renewed for three times their length")
    sink.judge = lambda request: None
    sink.release()
    wait_until_drained(queue)
    assert len(sink.puts()) == 30


def test_a_graceful_stop_gives_back_what_it_holds_of_every_shard(
    producer: Producer, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    worker = start_worker(
        lease_seconds=600, stop_timeout=1, request_timeout=LIMIT, upload_concurrency=2, upload_concurrency_max=2
    )
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(30)])
    wait_until(lambda: each(queue, "inflight") == [0, 0, 0] or all(each(queue, "inflight")), LIMIT, "claims of each")
    wait_until(lambda: len(sink.puts()) >= 2 and queue.stats().inflight == 30, LIMIT, "two uploads are under way")
    worker.terminate()
    assert worker.wait() == 0
    assert sum(queue.stats().ready.values()) == 30
    assert queue.stats().inflight == 0
    assert alive(queue.shards[0]) == alive(queue.shards[2]) == []


def test_a_broken_bucket_is_suspended_in_all_shards_and_resumed_in_all(
    producer: Producer, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: error(403, "AccessDenied")
    start_worker()
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(60)])
    wait_until(lambda: all(one.stats().suspended for one in queue.shards), LIMIT, "it is suspended in each")
    (one,) = queue.stats().suspended
    assert (one.bucket, one.code) == (BUCKET, "AccessDenied")
    sink.judge = lambda request: None
    assert wait_until_drained(queue).dead == 0
    assert queue.stats().suspended == []
    assert len(sink.objects) == 60


def test_a_worker_ends_for_its_supervisor_when_the_number_of_shards_changes(
    producer: Producer, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(30)])
    wait_until_drained(queue)
    reshard(queue, 2)
    assert worker.wait() == 1
    (told,) = worker.events("shards_changed")
    assert (told["shards"], told["was"]) == (2, SHARDS)
    assert worker.events("worker_stopped")
    start_worker()
    producer.put_many([Write(key=f"again/{n}", body=b"body") for n in range(30)])
    wait_until_drained(queue)
    assert len(sink.objects) == 60


def test_while_the_number_is_being_changed_workers_go_on_and_empty_the_queue(
    producer: Producer, queue: ShardedQueue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(60)])
    for one in queue.shards:
        one.run("reshard", "a-command-that-was-killed", SHARDS)
    worker = start_worker()
    wait_until_drained(queue)
    assert len(sink.objects) == 60
    assert reshard(queue, 4, wait=LIMIT)
    assert worker.wait() == 1


def test_the_exporters_gauges_are_of_all_shards_and_follow_their_number(
    producer: Producer, queue: ShardedQueue, start_worker: Callable[..., WorkerProcess]
) -> None:
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(30)])
    exporter = start_worker(command="exporter")

    def ready() -> float:
        return exporter.metrics().value("penstock_queue_writes", state="ready")

    assert ready() == 30
    assert exporter.metrics().value("penstock_queue_limit", unit="items") == 1_000_000
    end_all(queue)
    reshard(queue, 4)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(40)])
    assert ready() == 40
    assert exporter.metrics().value("penstock_accepted_writes_total") == 70
