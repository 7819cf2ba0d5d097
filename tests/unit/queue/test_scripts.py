"""The scripts and the server: loading, layouts, a full Redis, writes of newer versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from penstock.queue import blocks, change, dead
from penstock.queue.client import Queue
from penstock.queue.connection import open_client, translate
from penstock.queue.enqueue import Prepared
from penstock.queue.names import LAYOUT_VERSION
from penstock.queue.results import Outcome, Settled
from penstock.queue.scripts import load
from penstock_worker.demo.servers import RedisServer
from tests.support.queue import LARGE, LEASE, MAX_ATTEMPTS, SOCKET_TIMEOUT, ShiftedQueue, keys_of, open_queue
from tests.support.queue_layout import check_layout

NEWER_WIRE_SECONDS = 5


def test_every_call_survives_a_script_flush(queue: ShiftedQueue) -> None:
    def flushed() -> ShiftedQueue:
        queue.client.script_flush()
        return queue

    flushed().enqueue(queue.put("a"))
    batch = flushed().claim_now()
    assert flushed().queue.renew([batch.token], lease=LEASE, max_age=900) == ["1"]
    assert flushed().settle(batch, Outcome.DEAD) == [Settled.DEAD]
    (letter,) = queue.queue.dead_letters()
    assert flushed().queue.retry_dead([letter.seq]) == ["q"]
    batch = flushed().claim_now()
    assert flushed().queue.release(batch.token, max_attempts=MAX_ATTEMPTS) == (1, 0, 0)
    assert flushed().sweep().taken_back == 0
    assert flushed().stats().items == 1


def test_the_clock_is_redis_own_time_in_microseconds(redis_url: str, queue_name: str) -> None:
    client = open_client(redis_url, SOCKET_TIMEOUT)

    def server_time() -> float:
        seconds, micros = client.time()
        return float(seconds) + float(micros) / 1e6

    before = server_time()
    now = Queue(client, queue_name).stats().now
    assert before - 1e-6 <= now <= server_time() + 1e-6
    client.close()


def test_a_queue_of_another_layout_is_left_alone(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    queue.client.hset(queue.prefix + "meta", "layout", "999")
    with pytest.raises(redis.exceptions.ResponseError, match="LAYOUT 999") as caught:
        queue.enqueue(queue.put("b", priority="critical"))
    assert "upgrade" in str(translate(caught.value, "redis://localhost", maybe_accepted=False))
    older = redis.exceptions.ResponseError("LAYOUT 1")
    assert "older version" in str(translate(older, "redis://localhost", maybe_accepted=False))
    with pytest.raises(redis.exceptions.ResponseError, match="LAYOUT 999"):
        queue.claim(max_wait=0)
    for call in (
        lambda: blocks.block(queue.queue, "bucket", None),
        lambda: blocks.unblock(queue.queue, "bucket", None),
        lambda: change.move(queue.queue, "bucket", "a", "high"),
        lambda: queue.queue.run("purge", "bucket/a", bytes(8)),
        lambda: dead.purge(queue.queue, [1]),
        lambda: queue.queue.run("import_dead", 1),
    ):
        with pytest.raises(redis.exceptions.ResponseError, match="LAYOUT 999"):
            call()
    queue.client.hset(queue.prefix + "meta", "layout", LAYOUT_VERSION)
    assert queue.stats().items == 1


def test_the_first_accepted_write_names_the_layout(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    assert queue.client.hgetall(queue.prefix + "meta") == {
        **{b"layout": b"%d" % LAYOUT_VERSION, b"shards": b"1", b"epoch_of": b"run:first"},
    }


def test_counters_of_another_layout_stop_a_sweep_and_a_release_before_they_change_anything(queue: ShiftedQueue) -> None:
    queue.settle(queue.claimed(queue.put("delayed")), Outcome.RETRY, delay=1)
    batch = queue.claimed(queue.put("held"))
    queue.advance(1)
    counters = queue.get("count")
    assert counters is not None
    queue.client.delete(queue.prefix + "count")
    queue.client.hset(queue.prefix + "count", "items", 2)  # as layout 1 had them
    for call in (queue.sweep, lambda: queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS)):
        with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
            call()
    queue.client.delete(queue.prefix + "count")
    queue.client.set(queue.prefix + "count", counters)
    check_layout(queue.client, queue.prefix)
    assert queue.sweep().due == 1


def test_a_history_is_found_without_a_look_through_all_others(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a"))
    assert queue.client.object("encoding", queue.prefix + "state") == b"hashtable"


# -- writes of a newer wire version ---------------------------------------------------------------------------------


def _age_wire(queue: ShiftedQueue, write: Prepared) -> None:
    """Turns a waiting write into one of wire version 2."""
    record = queue.client.hget(queue.prefix + "write", write.name.decode())
    assert isinstance(record, bytes)
    queue.client.hset(queue.prefix + "write", write.name.decode(), b"\x02" + record[1:])


def _understand(queue: ShiftedQueue, write: Prepared) -> None:
    """As if a worker of the newer version had come: here that is one that reads version 1 again."""
    record = queue.client.hget(queue.prefix + "write", write.name.decode())
    assert isinstance(record, bytes)
    queue.client.hset(queue.prefix + "write", write.name.decode(), b"\x01" + record[1:])


def test_a_write_of_a_newer_wire_version_is_left_to_newer_workers_and_counted(queue: ShiftedQueue) -> None:
    newer = queue.put("0-newer")
    queue.enqueue(newer, queue.put("known"))
    _age_wire(queue, newer)
    reply = queue.claim(max_wait=0)
    assert (keys_of(reply.batches[0]), reply.newer_wire) == (["known"], 1)
    queue.settle(reply.batches[0])
    queue.advance(NEWER_WIRE_SECONDS)
    assert queue.sweep().due == 1
    assert queue.claim(max_wait=0).newer_wire == 1


def test_a_swept_write_of_a_newer_wire_version_waits_for_a_newer_worker_and_is_claimed_alone(
    queue: ShiftedQueue,
) -> None:
    put, delete = queue.put("put"), queue.delete("delete")
    queue.claimed(put, delete)
    for write in (put, delete):
        _age_wire(queue, write)
    queue.advance(LEASE)
    assert queue.sweep().taken_back == 2
    reply = queue.claim(max_wait=0, holds_none=True)
    assert (reply.batches, reply.newer_wire) == ([], 2)
    check_layout(queue.client, queue.prefix)
    queue.advance(NEWER_WIRE_SECONDS)
    assert queue.sweep().due == 2
    assert not queue.claim(max_wait=0, holds_none=False).batches
    for write in (put, delete):
        _understand(queue, write)
    for key in ("delete", "put"):
        batch = queue.claim_now()
        assert (keys_of(batch), batch.alone, batch.writes[0].attempts) == ([key], True, 2)


def test_a_swept_write_of_a_newer_version_hides_no_other(queue: ShiftedQueue) -> None:
    newer, known = queue.put("newer"), queue.put("other")
    queue.claimed(newer, known)
    _age_wire(queue, newer)
    queue.advance(LEASE)
    assert queue.sweep().taken_back == 2
    reply = queue.claim(max_wait=0)
    assert ([keys_of(batch) for batch in reply.batches], reply.newer_wire) == ([["other"]], 1)


def test_an_old_worker_changes_neither_kind_nor_attempts_of_a_newer_write(queue: ShiftedQueue) -> None:
    put, delete, tried = queue.put("put", LARGE), queue.delete("delete"), queue.put("tried", tenant="t")
    queue.settle(queue.claimed(tried), Outcome.MAYBE_SENT)
    queue.enqueue(put, delete)
    for write in (put, delete, tried):
        _age_wire(queue, write)
    assert queue.claim(max_wait=0).newer_wire == 3
    queue.advance(NEWER_WIRE_SECONDS)
    queue.sweep()
    for write in (put, delete, tried):
        _understand(queue, write)
    batch = queue.claim_now()
    seen = {write.key: (write.is_delete, write.attempts) for write in batch.writes}
    assert seen == {"put": (False, 1), "delete": (True, 1), "tried": (False, 2)}
    queue.settle(batch)  # the layout's check sees to it that the large body is gone


def test_many_writes_of_a_newer_version_do_not_hold_up_other_tenants(queue: ShiftedQueue) -> None:
    writes = [queue.put(f"{number:03}", tenant="a-newer") for number in range(250)]
    for start in (0, 125):
        queue.enqueue(*writes[start : start + 125])
    for write in writes:
        _age_wire(queue, write)
    queue.enqueue(queue.put("known", tenant="known"))
    (batch,) = queue.claim(max_wait=0).batches
    assert keys_of(batch) == ["known"]


# -- a full Redis ---------------------------------------------------------------------------------------------------


@pytest.fixture
def own_queue(tmp_path: Path, redis_executable: str | None, queue_name: str) -> Iterator[ShiftedQueue]:
    """A queue on a server whose memory the test may use up."""
    with (
        RedisServer(tmp_path, executable=redis_executable) as server,
        open_queue(server.url, queue_name) as queue,
    ):
        yield queue
        queue.client.config_set("maxmemory", 0)


def test_a_redis_without_memory_refuses_new_writes_and_lets_the_others_drain(own_queue: ShiftedQueue) -> None:
    queue = own_queue
    queue.settle(queue.claimed(queue.put("retried")), Outcome.RETRY, delay=1)
    queue.bury(queue.put("dead", LARGE))
    queue.enqueue(*[queue.put(f"{number:03}") for number in range(50)], queue.put("large", LARGE))
    before = queue.stats()
    queue.client.config_set("maxmemory", 1)
    for write in (queue.put("new"), queue.put("new", LARGE), queue.put("000"), queue.delete("000")):
        with pytest.raises(redis.exceptions.OutOfMemoryError) as caught:
            queue.enqueue(write)
        assert "maxmemory" in str(translate(caught.value, "redis://localhost", maybe_accepted=False))
    assert queue.stats() == before
    queue.advance(1)
    assert queue.sweep().due == 1
    first, second = queue.claim(batches=2).batches
    assert queue.queue.renew([first.token], lease=LEASE, max_age=900) == ["1"]
    assert queue.settle(first, Outcome.DEAD) == [Settled.DEAD] * 25
    assert queue.settle(second, Outcome.RETRY, delay=1) == [Settled.DELAYED] * 25
    queue.advance(2 * LEASE)
    queue.sweep()
    assert queue.queue.release(queue.claim_now().token, max_attempts=MAX_ATTEMPTS)[0] == 25
    while queue.stats().items:
        queue.settle(queue.claim_now())


# -- how scripts are built ------------------------------------------------------------------------------------------


def test_the_scripts_that_make_room_may_run_without_memory_and_the_others_not() -> None:
    flags = {name: load(name).source.partition(b"\n")[0] for name in ("claim", "renew", "settle", "sweep", "release")}
    assert set(flags.values()) == {b"#!lua flags=allow-oom"}
    assert {load(name).source.partition(b"\n")[0] for name in ("enqueue", "retry_dead")} == {b"#!lua"}


def test_a_script_is_known_by_its_hash_and_its_clock_can_be_replaced(queue: ShiftedQueue) -> None:
    script, shifted = load("claim"), load("claim", "local function clock() return 0 end")
    assert queue.client.script_load(script.source.decode()) == script.sha.decode()
    assert b"'TIME'" in script.source
    assert b"'TIME'" not in shifted.source
