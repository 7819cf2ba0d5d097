"""The operator's commands: what they print for programs, and their exit status (0 done, 1 not reached, 2 wrong use)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from tests.support.commands import printed, refused
from tests.support.memory_s3 import MemoryS3, Stored, error
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, run_command, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

PRIORITIES = {"critical", "high", "normal", "low"}


def test_put_and_get_carry_a_file_to_s3_and_back(
    tmp_path: Path, env: Mapping[str, str], queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"some text, " * 1000)
    done = run_command("put", "from-file", str(source), "--content-type", "text/plain", "--tag", "a=b", env=env)
    assert done.returncode == 0
    assert done.stdout.startswith(b"accepted as ")
    assert run_command("put", "from-stdin", "-", "--priority", "low", "--json", env=env, stdin=b"piped").returncode == 0
    start_worker()
    wait_until_drained(queue)
    assert sink.objects[BUCKET, "from-file"].headers["content-type"] == "text/plain"
    assert sink.objects[BUCKET, "from-file"].headers["x-amz-tagging"] == "a=b"
    assert run_command("get", "from-file", env=env).stdout == source.read_bytes()
    assert run_command("get", "from-stdin", "--output", str(tmp_path / "target"), env=env).returncode == 0
    assert (tmp_path / "target").read_bytes() == b"piped"
    assert "no such object" in refused("get", "not-there", env=env, status=1)


def test_get_refuses_an_object_whose_bytes_are_not_those_that_were_put(
    env: Mapping[str, str], queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    run_command("put", "key", "-", env=env, stdin=b"as it was")
    start_worker()
    wait_until_drained(queue)
    whole = sink.objects[BUCKET, "key"]
    sink.objects[BUCKET, "key"] = type(whole)(b"as it is.", whole.headers)
    assert "does not match" in refused("get", "key", env=env, status=1)
    told = printed("get", "key", env=env, status=1)
    assert (told["intact"], told["seq"], told["sha256_put"]) == (False, whole.seq, whole.sha256)
    sink.objects[BUCKET, "key"] = type(whole)(b"no frame", {**whole.headers, "content-encoding": "zstd"})
    assert "damaged" in refused("get", "key", env=env, status=1)
    told = printed("get", "key", env=env, status=1)
    assert (told["intact"], told["sha256_read"], told["body_size"]) == (False, None, None)
    assert "damaged" in told["problem"]


def test_get_info_tells_the_number_and_the_checksums_of_an_object(
    env: Mapping[str, str], producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    body = b"some text, " * 1000
    receipt = producer.put("key", body, metadata={"source": "web"})
    start_worker()
    wait_until_drained(queue)
    told = printed("get", "key", env=env)
    assert (told["intact"], told["seq"], told["metadata"]) == (True, receipt.seq, {"source": "web"})
    assert told["sha256_put"] == told["sha256_read"] == hashlib.sha256(body).hexdigest()
    assert (told["body_size"], told["content_encoding"]) == (len(body), "zstd")
    assert told["stored_size"] < len(body)
    shown = run_command("get", "key", "--info", env=env).stdout.decode()
    assert str(receipt.seq) in shown
    assert body[:20].decode() not in shown
    sink.objects[BUCKET, "key"] = type(sink.objects[BUCKET, "key"])(b"another's", {})
    told = printed("get", "key", env=env)
    assert (told["intact"], told["seq"], told["sha256_put"]) == (None, None, None)


def test_queue_stats_prints_the_documented_json(env: Mapping[str, str], queue_name: str, producer: Producer) -> None:
    producer.put("a", b"body", priority="high")
    producer.put("b", b"body", priority="low")
    stats = printed("queue", "stats", env=env)
    assert stats.keys() >= {"queue", "paused", "writes", "bytes", "oldest_age_seconds", "limits"}
    assert (stats["queue"], stats["paused"]) == (queue_name, False)
    assert stats["writes"].keys() >= {"ready", "delayed", "inflight", "dead", "contested"}
    assert stats["writes"]["ready"] == {"critical": 0, "high": 1, "normal": 0, "low": 1}
    assert [stats["writes"][state] for state in ("delayed", "inflight", "dead", "contested")] == [0, 0, 0, 0]
    assert 8 < stats["bytes"] < 1000
    ages = stats["oldest_age_seconds"]
    assert ages.keys() == PRIORITIES
    assert ages["critical"] is None
    assert 0 < ages["high"] < LIMIT
    assert stats["limits"].items() >= {"items": 1_000_000, "bytes": 1024**3}.items()
    assert b"ready, high" in run_command("queue", "stats", env=env).stdout


def test_queue_drain_waits_for_a_worker_and_ends_with_1_when_the_time_is_over(
    env: Mapping[str, str], producer: Producer, start_worker: Callable[..., WorkerProcess]
) -> None:
    producer.put("key", b"body")
    assert printed("queue", "drain", "--timeout", "0.1", env=env, status=1)["writes"]["ready"]["normal"] == 1
    assert "not drained" in refused("queue", "drain", "--timeout", "0.1", env=env, status=1)
    start_worker()
    assert printed("queue", "drain", "--timeout", str(LIMIT), env=env)["writes"]["ready"]["normal"] == 0
    assert run_command("queue", "drain", env=env).returncode == 0


def test_dead_list_prints_the_documented_json_and_dead_retry_puts_back(
    env: Mapping[str, str],
    producer: Producer,
    queue: Queue,
    sink: MemoryS3,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    sink.judge = lambda request: error(400, "InvalidTag")
    assert printed("dead", "list", env=env) == []
    first = producer.put("first", b"12345", priority="high", tenant="somebody")
    producer.put("second", b"body")
    producer.delete("third", tenant="ü")
    start_worker()
    wait_until(lambda: queue.stats().dead == 3, LIMIT, "all are dead-lettered")
    letters = {letter["key"]: letter for letter in printed("dead", "list", env=env)}
    times = {name: datetime.fromisoformat(letters["first"].pop(name)) for name in ("accepted_at", "died_at")}
    assert times["accepted_at"] <= times["died_at"]
    assert times["died_at"].utcoffset() is not None
    assert letters["first"].pop("size") >= 5
    assert letters["first"] == {
        "bucket": BUCKET,
        "key": "first",
        "seq": first.seq,
        "operation": "put",
        "priority": "high",
        "tenant": "somebody",
        "attempts": 1,
        "error_class": "permanent",
        "code": "InvalidTag",
        "http_status": 400,
        "message": "said by the test",
        "imported": False,
    }
    assert (letters["third"]["operation"], letters["third"]["tenant"]) == ("delete", "ü")
    assert len(printed("dead", "list", "--limit", "2", env=env)) == 2
    assert b"InvalidTag" in run_command("dead", "list", env=env).stdout

    sink.judge = lambda request: None
    assert printed("dead", "retry", "first", env=env) == {"queued": 1}
    wait_until_drained(queue)
    assert sink.objects[BUCKET, "first"].seq == first.seq
    assert printed("dead", "retry", "--all", env=env) == {"queued": 2}
    assert wait_until_drained(queue).dead == 0
    assert "no dead letter" in refused("dead", "retry", "first", env=env, status=1)


def test_wrong_use_ends_with_2_and_says_what_is_wrong(env: Mapping[str, str]) -> None:
    assert "no such option" in refused("queue", "stats", "--jason", env=env, status=2).lower()
    assert "give keys, or --all" in refused("dead", "retry", env=env, status=2)
    assert "PENSTOCK_QUEU" in refused("queue", "stats", env={**env, "PENSTOCK_QUEU": "x"}, status=2)
    assert "no-such-file" in refused("put", "key", "no-such-file", env=env, status=2)
    without_bucket = {name: value for name, value in env.items() if name != "PENSTOCK_BUCKET"}
    assert "bucket" in refused("get", "key", env=without_bucket, status=2)
    assert "--output" in refused("get", "key", "--info", "--output", "file", env=env, status=2)
    nowhere = {**env, "PENSTOCK_S3_ENDPOINT_URL": "http://no host"}
    assert "PENSTOCK_S3_" in refused("get", "key", env=nowhere, status=2)


def test_a_redis_that_is_not_there_ends_a_command_with_1_and_one_line(env: Mapping[str, str]) -> None:
    nowhere = {**env, "PENSTOCK_REDIS_URL": f"redis://:password@127.0.0.1:{closed_port()}/0"}
    for command in (("queue", "stats"), ("dead", "list")):
        line = refused(*command, env=nowhere, status=1)
        assert "is not available" in line
        assert "password" not in line


def test_worker_check_starts_nothing_and_tells_a_wrong_setting_from_an_absent_redis(
    env: Mapping[str, str], queue_name: str, producer: Producer, queue: Queue
) -> None:
    producer.put("key", b"body", priority="critical")
    done = run_command("worker", "--check", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(f"OK: queue {queue_name} at redis://")
    assert queue.stats().ready["critical"] == 1
    nowhere = f"redis://:password@127.0.0.1:{closed_port()}/0"
    line = refused("worker", "--check", env={**env, "PENSTOCK_REDIS_URL": nowhere}, status=1)
    assert "is not available" in line
    assert "password" not in line
    for name, value in (("PENSTOCK_MAX_ATTEMPTS", "0"), ("PENSTOCK_S3_ENDPOINT_URL", "not-a-url")):
        assert "PENSTOCK_" in refused("worker", "--check", env={**env, name: value}, status=2)


def test_a_queue_of_a_newer_layout_is_told_by_worker_check(env: Mapping[str, str], queue: Queue) -> None:
    queue.client.hset(queue.prefix + "meta", "layout", "999")
    assert "layout 999" in refused("worker", "--check", env=env, status=1)


def test_settings_of_boto3_that_make_no_client_are_one_line_and_status_2(env: Mapping[str, str]) -> None:
    for engine in ("obstore", "boto3"):
        odd = {**env, "AWS_PROFILE": "nobody", "PENSTOCK_S3_ENGINE": engine}
        assert "nobody" in refused("worker", "--check", env=odd, status=2)
        assert "nobody" in refused("get", "key", env=odd, status=2)


def test_an_output_that_cannot_be_written_is_one_line(env: Mapping[str, str], sink: MemoryS3, tmp_path: Path) -> None:
    sink.objects[BUCKET, "key"] = Stored(b"body", {})
    assert "No such file" in refused("get", "key", "--output", str(tmp_path / "no" / "file"), env=env, status=1)
