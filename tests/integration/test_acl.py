"""The rights that docs/connections.md lists are those that the code uses, and enough for producers and workers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock import PenstockError, Producer, Receipt, Write
from penstock.queue import dead
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.results import Outcome, Settlement
from penstock_worker.demo.servers import RedisServer
from tests.support.fault_s3 import FaultS3, refusal
from tests.support.fleet import Fleet
from tests.support.queue import BROKEN, LARGE
from tests.support.rights import commands_of, script_names
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, environment, run_command

PAGE = Path(__file__).parents[2] / "docs" / "connections.md"
PASSWORD = "word"
LIMIT = 60.0
"""Seconds, against hangs only."""
SHORT = 0.3
"""A call's time limit where it is refused."""
CLIENT = {"evalsha", "script|load"}
"""What runs a script."""
WORKER = {"blpop", "exec", "hsetnx", "info", "mget", "multi", "ping"}
"""What workers and commands do without a script, beside what scripts do too."""


def listed(user: str) -> list[str]:
    """The rule's words, from the user's name on."""
    blocks: list[str] = re.findall(r"```acl\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (rule,) = [words for block in blocks if (words := block.split())[2] == user]
    assert rule[:2] == ["ACL", "SETUSER"]
    return rule[2:]


def rights(user: str) -> set[str]:
    return {word[1:] for word in listed(user) if word.startswith("+")}


@pytest.fixture
def server(tmp_path: Path, redis_executable: str | None) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, executable=redis_executable) as one:
        yield one


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with open_client(server.url, LIMIT) as client:
        yield client


def let_in(admin: redis.Redis, user: str, queue: str, *changes: str) -> None:
    words = [word.replace("QUEUE", queue).replace(">PASSWORD", f">{PASSWORD}") for word in listed(user)]
    admin.execute_command("ACL SETUSER", words[0], "reset", *words[1:], *changes)


def url_of(server: RedisServer, user: str) -> str:
    return server.url.replace("redis://", f"redis://{user}:{PASSWORD}@")


def denied(admin: redis.Redis) -> list[Any]:
    """What was asked for without the right to."""
    return [(entry["username"], entry["reason"], entry["object"]) for entry in admin.acl_log()]


def test_the_page_lists_what_the_scripts_run_and_nothing_else() -> None:
    producer = commands_of("enqueue") | commands_of("place") | CLIENT
    assert rights("producer") == producer
    assert rights("worker") == set().union(*(commands_of(name) for name in script_names())) | CLIENT | WORKER


def test_producers_and_workers_do_all_they_do_with_the_rights_that_are_listed(
    server: RedisServer, admin: redis.Redis, queue_name: str
) -> None:
    for user in ("producer", "worker"):
        let_in(admin, user, queue_name)
    worker_url = url_of(server, "worker")
    with (
        FaultS3() as store,
        Fleet(worker_url, store.endpoint_url, queue_name, max_attempts=2, batch_max_wait=0) as fleet,
        Producer(url_of(server, "producer"), queue=queue_name, bucket=BUCKET, timeout=LIMIT) as producer,
        closing(open_client(worker_url, LIMIT, queue_name)) as client,
    ):
        fleet.start()
        receipts = producer.put_many([Write(key=f"{number}", body=b"body") for number in range(40)])
        receipts += [producer.put("large", LARGE), producer.put("large", LARGE + b"2"), producer.delete("0")]
        assert producer.wait(receipts[-1], LIMIT).outcome == "stored"
        with store.broken(refusal(400, "InvalidArgument")):
            assert producer.wait(producer.put("bad", b"body", tags={"a": "b"}), LIMIT).outcome == "dead"
        queue = Queue(client, queue_name)
        with store.broken(refusal(500, "InternalError", rate=0.5)):
            for number in range(30):
                producer.put(f"again/{number}", LARGE if number % 2 else b"body")
            wait_until(lambda: not queue.stats().unfinished, LIMIT, "it is drained")
        env = environment(worker_url, store.endpoint_url, queue_name, {"bucket": BUCKET})
        for command in (
            ("queue", "stats"), ("queue", "list"), ("queue", "show", "bad"), ("queue", "pause"), ("queue", "resume"),
            ("dead", "list"), ("dead", "retry", "--all", "--yes"), ("queue", "configure", "--items", "5000"),
        ):  # fmt: skip
            run_command(*command, env=env)
        assert dead.purge(queue, [1]) == 0
        fleet.stop()
    assert denied(admin) == []


def use_all(admin: redis.Redis, server: RedisServer, name: str) -> None:
    """A producer meets each kind of write and answer; errors are what this is about."""
    queue = Queue(admin, name)
    with Producer(url_of(server, "producer"), queue=name, bucket=BUCKET, timeout=SHORT) as producer:

        def put(key: str, body: bytes = b"body", **fields: Any) -> None:
            with suppress(PenstockError):
                producer.put(key, body, **fields)

        def claim_and_fail() -> None:
            batches = queue.claim(
                [uuid.uuid4().hex],
                lease=LIMIT,
                max_items=25,
                max_bytes=2**20,
                max_wait=0,
                budget=2**20,
                holds_none=True,
            ).batches
            for batch in batches:
                failed = [Settlement(write.name, Outcome.MAYBE_SENT, True, LIMIT, BROKEN) for write in batch.writes]
                queue.settle(batch.token, failed, max_attempts=9)

        put("small")
        put("large", LARGE)
        put("large", LARGE + b"2")
        put("small", priority="high")
        with suppress(PenstockError):
            producer.wait(Receipt(1, False, False, BUCKET, "gone"), 0)
        with suppress(PenstockError):
            producer.wait(producer.put("waits", b"body"), 0)
        claim_and_fail()  # delayed and marked
        put("small")
        queue.claim(["held"], lease=LIMIT, max_items=25, max_bytes=2**20, max_wait=0, budget=2**20, holds_none=True)
        put("small")
        queue.configure(items=1)
        put("too-much", LARGE)


UNSEEN = {"expire", "hlen", "llen", "pexpire", "rpush", "xlen", "zscore"}
"""Of a call that is sent again, one that replaces more than 16 MiB of bodies, a replay of spooled writes, a worker that
sleeps, a look at what was settled, a write that was swept."""


@pytest.mark.parametrize("right", sorted(rights("producer") - UNSEEN))
def test_a_producer_needs_each_right_that_is_listed(right: str, redis_server: RedisServer, queue_name: str) -> None:
    with open_client(redis_server.url, LIMIT) as admin:
        let_in(admin, "producer", queue_name, f"-{right}")
        admin.script_flush()
        admin.acl_log_reset()
        use_all(admin, redis_server, queue_name)
        refused = {entry["object"] for entry in admin.acl_log()}
        admin.acl_deluser("producer")
    assert right in refused
