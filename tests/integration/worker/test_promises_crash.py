"""Promises 7 and 8: a crash is repaired in seconds, bytes arrive intact."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Callable
from typing import cast

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.names import join_name
from tests.support.memory_s3 import STALL, MemoryS3
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess, wait_until_drained

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

LEASE = 4.0


def stall_all(sink: MemoryS3, writes: int) -> None:
    """Returns when ``writes`` requests hang at the sink."""
    wait_until(lambda: len(sink.puts()) >= writes, LIMIT, f"{writes} uploads are under way")


def test_promise_7_the_writes_of_a_killed_worker_are_stored_by_another_within_the_lease(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    killed = start_worker(lease_seconds=LEASE, request_timeout=LIMIT)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(12)])
    stall_all(sink, 12)
    start_worker(lease_seconds=LEASE)
    sink.judge = lambda request: None
    sink.objects.clear()
    killed.kill()
    began = time.monotonic()
    wait_until_drained(queue)
    seconds = time.monotonic() - began
    print(f"repaired {seconds:.2f} s after the kill, with a lease of {LEASE:g} s")
    assert len(sink.objects) == 12
    assert seconds < LEASE + 5


def test_promise_7_a_frozen_workers_claims_are_taken_over_and_it_sends_nothing_of_them_when_it_thaws(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    frozen = start_worker(lease_seconds=2, request_timeout=LIMIT, upload_concurrency=1)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(10)])
    stall_all(sink, 1)
    frozen.freeze()
    sink.judge = lambda request: None
    start_worker(lease_seconds=2)
    wait_until_drained(queue)
    sent = len(sink.puts())
    frozen.thaw()
    sink.release()  # the frozen worker's one request ends, and nine more are in its hands
    wait_until(lambda: frozen.events("batch"), LIMIT, "the thawed worker ended its batch")
    assert frozen.events("batch")[0]["lease_lost"] == 10
    assert len(sink.puts()) == sent
    assert sent == 11


def test_promise_7_a_slow_upload_is_not_taken_from_a_worker_that_lives(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    for _ in range(2):  # each would sweep the other's claims
        start_worker(lease_seconds=1, request_timeout=LIMIT)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(10)])
    stall_all(sink, 10)

    def lease_end() -> float:
        leases = queue.client.zrange(queue.prefix + "lease", 0, -1, withscores=True)
        ((_, end),) = cast("list[tuple[bytes, float]]", leases)
        return end

    first = lease_end()
    wait_until(lambda: lease_end() > first + 3e6, LIMIT, "the lease was renewed for three times its length")
    sink.release()
    wait_until_drained(queue)
    assert len(sink.puts()) == 10


def test_promise_7_a_graceful_stop_gives_back_at_once_what_it_cannot_finish(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    worker = start_worker(lease_seconds=600, stop_timeout=1, request_timeout=LIMIT, upload_concurrency=4)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(10)])
    stall_all(sink, 4)
    worker.terminate()
    wait_until(lambda: sum(queue.stats().ready.values()) == 10, LIMIT, "all writes are ready again")
    assert worker.wait() == 0
    assert worker.events("worker_stopped")[0]["given_back"] == 1
    assert len(sink.puts()) == 4  # nothing new was sent after the stop's time limit
    assert queue.stats().dead == 0
    sink.judge = lambda request: None
    start_worker()
    wait_until_drained(queue)
    assert len(sink.objects) == 10


def test_promise_7_a_graceful_stop_finishes_what_is_under_way(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    sink.judge = lambda request: STALL
    worker = start_worker(request_timeout=LIMIT, stop_timeout=LIMIT)
    producer.put_many([Write(key=f"{n}", body=b"body") for n in range(10)])
    stall_all(sink, 10)
    worker.terminate()
    wait_until(lambda: worker.events("worker_stopping"), LIMIT, "the stop has begun")
    producer.put("late", b"body")
    assert worker.get("/readyz")[0] == 503
    sink.release()
    assert worker.wait() == 0
    assert len(sink.objects) == 10
    assert (queue.stats().inflight, sum(queue.stats().ready.values())) == (0, 1)
    assert worker.events("worker_stopped")[0]["given_back"] == 0


def test_promise_8_a_body_arrives_with_its_hash_and_the_hash_of_what_was_sent(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    noise = random.Random(8)
    bodies = {
        "empty": b"",
        "small": b"x",
        "text": b"the same again and again " * 400,
        "noise": noise.randbytes(5000),
        "zeros": bytes(200_000),  # a key of its own in Redis
        "large-noise": noise.randbytes(300_000),
        "image.png": b"p" * 1000,
    }
    for name, body in bodies.items():
        producer.put(name, body, content_type="image/png" if name == "image.png" else None)
    producer.put("asked-not-to", b"t" * 5000, compression="none")
    start_worker()
    wait_until_drained(queue)
    bodies["asked-not-to"] = b"t" * 5000
    assert {key for _, key in sink.objects} == set(bodies)
    for name, body in bodies.items():
        stored = sink.objects[BUCKET, name]
        assert stored.body == body, name
        assert stored.sha256 == hashlib.sha256(body).hexdigest()
        sent = base64.b64encode(hashlib.sha256(stored.raw).digest()).decode()
        assert stored.headers["x-amz-checksum-sha256"] == sent
    compressed = {key for (_, key), stored in sink.objects.items() if stored.encoding == "zstd"}
    assert compressed == {"text", "zeros"}
    assert len(sink.objects[BUCKET, "zeros"].raw) < 1000


def test_promise_8_a_body_that_changed_in_redis_is_dead_lettered_and_never_uploaded(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    producer.put("inline", b"a body")
    producer.put("large", b"L" * 100_000)
    producer.put("whole", b"a body")
    records = queue.prefix + "write"
    record = queue.client.hget(records, join_name(BUCKET, "inline"))
    assert isinstance(record, bytes)
    queue.client.hset(records, join_name(BUCKET, "inline"), record[:-1] + b"Y")
    (blob,) = queue.client.keys(queue.prefix.replace("{", "[{]") + "blob:*")
    queue.client.setrange(blob, 50_000, b"l")
    start_worker()
    assert wait_until_drained(queue).dead == 2
    letters = {letter.key: letter for letter in queue.dead_letters()}
    assert set(letters) == {"inline", "large"}
    for letter in letters.values():
        assert (letter.failure.error_class, letter.failure.code) == ("permanent", "ChecksumMismatch")
        assert letter.attempts == 1
    assert {one.key for one in sink.puts()} == {"whole"}


def test_promise_8_a_record_that_cannot_be_read_is_dead_lettered_alone(
    producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> None:
    names = ("cut-short", "no-header", "whole")
    producer.put_many([Write(key=name, body=b"a body", content_type="text/plain") for name in names])
    records = queue.prefix + "write"
    # The scripts read the first 20 bytes, so that such a write can still be moved about.
    for name, kept, rest in (("cut-short", 30, b""), ("no-header", 55, b"\xc1" * 20)):
        record = queue.client.hget(records, join_name(BUCKET, name))
        assert isinstance(record, bytes)
        queue.client.hset(records, join_name(BUCKET, name), record[:kept] + rest)
    start_worker()
    assert wait_until_drained(queue).dead == 2
    assert {letter.key: letter.failure.code for letter in queue.dead_letters()} == {
        "cut-short": "BadRecord",
        "no-header": "BadRecord",
    }
    assert {one.key for one in sink.puts()} == {"whole"}
