"""The Redis watch: what it says of a Redis, how seldom it asks, and what it says while there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from penstock_worker.beats import Beats
from penstock_worker.clock import Clock
from penstock_worker.demo.servers import RedisServer
from penstock_worker.redis_watch import AWAY_SECONDS, DUTY, LOOK_SECONDS, RedisWatch, WatchCollector
from tests.support.redis_faults import LOADS_SLOWLY, loading
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""


@contextmanager
def watched(url: str) -> Iterator[tuple[RedisWatch, redis.Redis]]:
    with redis.Redis.from_url(url) as client:
        yield RedisWatch(client, Beats(), Clock()), client


def scraped(watch: RedisWatch) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(WatchCollector([watch]))
    return {sample.name: sample.value for family in registry.collect() for sample in family.samples}


def test_a_redis_that_keeps_writes_is_durable_and_its_clock_is_ours(redis_url: str) -> None:
    with watched(redis_url) as (watch, _):
        assert scraped(watch) == {}, "absent before the first look"
        watch.look()
        values = scraped(watch)
    assert values["penstock_redis_durable"] == 1
    assert values["penstock_clock_skew_seconds"] == pytest.approx(0, abs=1)


@pytest.mark.parametrize("setting", [("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")])
def test_a_redis_that_may_lose_writes_is_warned_of_once_until_it_is_cured(
    setting: tuple[str, str], tmp_path: Path, redis_executable: str | None
) -> None:
    name, value = setting
    with RedisServer(tmp_path, executable=redis_executable) as server, watched(server.url) as (watch, client):
        good = str(client.config_get(name)[name])
        with capture_logs() as logs:
            for now in (good, value, value, good, value):
                client.config_set(name, now)
                watch.look()
                assert scraped(watch)["penstock_redis_durable"] == float(now == good)
    warnings = [line for line in logs if line["event"] == "redis_unsafe"]
    assert len(warnings) == 2
    assert all(name in line["problem"] for line in warnings)


def test_a_look_is_one_round_trip_and_the_next_is_fifteen_seconds_off(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(redis_url) as (watch, client):
        sent: list[Any] = []
        client.ping()  # the connection stands
        whole: Callable[..., None] = redis.Connection.send_packed_command

        def counted(connection: redis.Connection, command: Any, check_health: bool = True) -> None:
            sent.append(command)
            whole(connection, command, check_health)

        monkeypatch.setattr(redis.Connection, "send_packed_command", counted)
        watch.look()
        assert len(sent) == 1
        assert watch._pause == LOOK_SECONDS >= 15


def test_without_redis_the_gauges_are_absent_and_it_is_looked_at_again_soon(
    tmp_path: Path, redis_executable: str | None
) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server, watched(server.url) as (watch, _):
        watch.look()
        server.kill()
        with capture_logs() as logs:
            watch.look()
            watch.look()
        assert [line["event"] for line in logs] == ["redis_not_watched"]
        assert scraped(watch) == {}
        assert watch._pause == AWAY_SECONDS
        server.start()
        watch.look()
        assert scraped(watch).keys() == {"penstock_redis_durable", "penstock_clock_skew_seconds"}


def test_a_user_without_the_right_to_info_is_told_and_the_clock_is_compared_all_the_same(
    tmp_path: Path, redis_executable: str | None
) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server, watched(server.url) as (_, client):
        client.execute_command("ACL", "SETUSER", "app", "on", ">word", "~*", "+@all", "-info")
        url = server.url.replace("redis://", "redis://app:word@")
        with watched(url) as (of_app, _), capture_logs() as logs:
            of_app.look()
            assert scraped(of_app).keys() == {"penstock_clock_skew_seconds"}
    assert ["+info" in line["remedy"] for line in logs] == [True]


def test_it_beats_and_ends_when_told_also_without_redis() -> None:
    beats = Beats()
    with redis.Redis(host="127.0.0.1", port=closed_port()) as client:
        watch = RedisWatch(client, beats, Clock())
        watch.start()
        wait_until(lambda: beats.age(DUTY) is not None, LIMIT, "it has beaten")
        watch.stop()
        watch.join(LIMIT)
    assert not watch.is_alive()


def test_of_a_redis_that_loads_its_data_it_is_unknown_whether_it_keeps_writes(
    tmp_path: Path, redis_executable: str | None
) -> None:
    """It says then that it has no append-only file."""
    with (
        RedisServer(tmp_path, executable=redis_executable, extra=LOADS_SLOWLY) as server,
        watched(server.url) as (watch, _),
        capture_logs() as logs,
    ):
        with loading(server):
            watch.look()
            assert "penstock_redis_durable" not in scraped(watch)
        watch.look()
        assert scraped(watch)["penstock_redis_durable"] == 1
    assert not [line for line in logs if line["event"] == "redis_unsafe"]
