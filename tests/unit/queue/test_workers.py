"""The registry of workers: who is alive, who has died, who is forgotten."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import redis

from penstock.queue.workers import (
    ALIVE_SECONDS,
    BEAT_SECONDS,
    REMEMBERED_SECONDS,
    Facts,
    Rate,
    alive,
    beat,
    forget,
    seen,
)
from penstock_worker.demo.servers import RedisServer
from tests.support.queue import START, ShiftedQueue, open_queue

FACTS = Facts(
    host="höst", pid=7, version="1.2.3", engine="obstore", up_seconds=60.0, in_flight=25, claims=1, lease_left=14.5,
    slots=12, concurrency={"bucket": 3}, stored=100, stored_bytes=5000, rate=Rate(9.0, 50, 2500),
    latency={"normal": [(0.5, 49), (float("inf"), 1)]}, errors=[("throttle", "SlowDown", 2)],
)  # fmt: skip


def ids(queue: ShiftedQueue, within: float = REMEMBERED_SECONDS) -> list[str]:
    return [worker.id for worker in seen(queue.queue, within=within)]


def test_a_worker_is_seen_with_its_facts_and_the_time_since_its_last_beat(queue: ShiftedQueue) -> None:
    beat(queue.queue, "a:1", Facts())
    beat(queue.queue, "a:1", FACTS)
    queue.advance(2.5)
    (worker,) = alive(queue.queue)
    assert (worker.id, worker.facts, worker.age, worker.is_alive) == ("a:1", FACTS, 2.5, True)
    assert worker.beaten_at.timestamp() * 1e6 == START
    assert worker.started_at.timestamp() * 1e6 == START - 60e6


def test_a_worker_silent_for_three_beats_is_not_alive_and_still_seen(queue: ShiftedQueue) -> None:
    beat(queue.queue, "dies", FACTS)
    queue.advance(BEAT_SECONDS)
    beat(queue.queue, "lives", FACTS)
    queue.advance(ALIVE_SECONDS - BEAT_SECONDS)
    assert [worker.id for worker in alive(queue.queue)] == ["lives", "dies"]
    queue.advance(0.1)
    assert [worker.id for worker in alive(queue.queue)] == ["lives"]
    assert [(worker.id, worker.is_alive) for worker in seen(queue.queue)] == [("lives", True), ("dies", False)]


def test_a_worker_that_stops_in_order_is_gone_at_once(queue: ShiftedQueue) -> None:
    beat(queue.queue, "a", FACTS)
    beat(queue.queue, "b", FACTS)
    forget(queue.queue, "a")
    assert ids(queue) == ["b"]
    forget(queue.queue, "a")


def test_a_worker_silent_for_an_hour_is_forgotten_by_who_beats_next_in_bounded_steps(queue: ShiftedQueue) -> None:
    for number in range(30):
        beat(queue.queue, f"dead-{number}", FACTS)
    queue.advance(REMEMBERED_SECONDS)
    beat(queue.queue, "lives", FACTS)
    assert queue.client.hlen(queue.prefix + "workers") == 31
    queue.advance(0.001)
    for left in (11, 1, 1):
        beat(queue.queue, "lives", FACTS)
        assert queue.client.hlen(queue.prefix + "workers") == left
    assert ids(queue) == ["lives"]


def test_of_too_many_workers_the_latest_are_kept(queue: ShiftedQueue) -> None:
    for number in range(1010):
        beat(queue.queue, f"{number}", FACTS)
        queue.advance(0.001)
    assert ids(queue) == [f"{number}" for number in range(1009, 9, -1)]
    assert queue.client.hlen(queue.prefix + "workers") == 1000


def test_facts_of_another_version_are_read_as_far_as_they_are_understood(queue: ShiftedQueue) -> None:
    beat(queue.queue, "newer", FACTS)
    beat(queue.queue, "strange", FACTS)
    more = msgspec.msgpack.encode({"version": "9.0", "pid": 5, "something_else": [1]})
    queue.client.hset(queue.prefix + "workers", "newer", more)
    queue.client.hset(queue.prefix + "workers", "strange", msgspec.msgpack.encode({"pid": "five"}))
    by_id = {worker.id: worker.facts for worker in seen(queue.queue)}
    assert (by_id["newer"].version, by_id["newer"].pid) == ("9.0", 5)
    assert by_id["strange"] == Facts()


def test_a_beat_brings_back_the_log_level_that_the_queue_asks_for(queue: ShiftedQueue) -> None:
    assert beat(queue.queue, "a", FACTS).log_level is None
    queue.client.hset(queue.prefix + "meta", "log_level", "debug")
    assert beat(queue.queue, "a", FACTS).log_level == "debug"


def test_a_queue_of_another_layout_is_left_alone(queue: ShiftedQueue) -> None:
    queue.client.hset(queue.prefix + "meta", "layout", "999")
    with pytest.raises(redis.exceptions.ResponseError, match="LAYOUT 999"):
        beat(queue.queue, "a", FACTS)
    with pytest.raises(redis.exceptions.ResponseError, match="LAYOUT 999"):
        alive(queue.queue)
    assert not queue.client.exists(queue.prefix + "workers")
    queue.client.delete(queue.prefix + "meta")


def test_workers_are_seen_while_redis_has_no_memory(
    tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server, open_queue(server.url, queue_name) as queue:
        queue.client.config_set("maxmemory", 1)
        beat(queue.queue, "a", FACTS)
        assert ids(queue) == ["a"]
        queue.client.config_set("maxmemory", 0)
