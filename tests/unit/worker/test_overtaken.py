"""Rule EPOCH in the worker: what was accepted before Redis lost its last steps is looked up before it is sent."""

from __future__ import annotations

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.look import find
from penstock_worker.failures import OUTAGE_LEAST
from penstock_worker.held import HeldClaim
from penstock_worker.stores import ErrorClass, ObjectInfo, StoreFault
from penstock_worker.sweeper import Sweeper
from tests.support.worker_parts import Objects, Parts, info

pytestmark = pytest.mark.integration

PUT, DELETE = "put", "delete"
BUCKET = "the-bucket"
TIMEOUT = StoreFault(ErrorClass.UNKNOWN, "Timeout", None, "no answer in time")
DENIED = StoreFault(ErrorClass.ENVIRONMENT, "AccessDenied", 403, "no")


class Scene:
    """A queue whose server has changed since it took some writes, and a worker's parts over it."""

    def __init__(self, producer: Producer, queue: Queue) -> None:
        self.producer = producer
        self.queue = queue
        self.parts = Parts(queue)
        self.store = Objects()

    def accept(self, kind: str, *keys: str) -> int:
        """Returns the last number."""
        if kind == DELETE:
            return [self.producer.delete(key).seq for key in keys][-1]
        return self.producer.put_many([Write(key=key, body=b"body") for key in keys])[-1].seq

    def change_server(self) -> None:
        self.queue.client.hset(self.queue.prefix + "meta", "epoch_of", "another:server")

    def run(self, claim: HeldClaim | None = None) -> HeldClaim:
        """One batch, uploaded and settled."""
        claim = claim or self.parts.claim()
        sweeper = Sweeper(self.queue, self.parts.beats, self.parts.metrics, lease=15, max_attempts=8)
        uploader = self.parts.uploader(self.store, sweeper)
        try:
            uploader.run(claim)
            self.parts.ack(claim)
        finally:
            uploader.close()
        return claim

    @property
    def sent(self) -> list[str]:
        return self.store.keys + [key for keys in self.store.deleted for key in keys]

    def count(self, outcome: str) -> float | None:
        return self.parts.metrics.registry.get_sample_value("penstock_writes_total", {"outcome": outcome})


@pytest.fixture
def scene(producer: Producer, queue: Queue) -> Scene:
    return Scene(producer, queue)


@pytest.mark.parametrize("kind", [PUT, DELETE])
def test_epoch_a_write_whose_object_is_of_a_newer_one_is_not_sent(kind: str, scene: Scene) -> None:
    seq = scene.accept(kind, "key")
    scene.change_server()
    scene.store.found = {"key": info(penstock_seq=str(seq + 1))}
    claim = scene.run()
    assert (scene.sent, claim.sent) == ([], set())
    assert (scene.count("superseded"), scene.queue.stats().items) == (1, 0)


@pytest.mark.parametrize("kind", [PUT, DELETE])
@pytest.mark.parametrize("found", ["absent", "older", "its own", "foreign"])
def test_epoch_any_other_object_is_written_over(kind: str, found: str, scene: Scene) -> None:
    seq = scene.accept(kind, "key")
    scene.change_server()
    objects: dict[str, ObjectInfo | None] = {
        "absent": None,
        "older": info(penstock_seq=str(seq - 1)),
        "its own": info(penstock_seq=str(seq)),
        "foreign": info(),
    }
    one = objects[found]
    scene.store.found = {} if one is None else {"key": one}
    scene.run()
    assert (scene.store.looked, scene.sent) == (["key"], ["key"])
    assert scene.count("stored" if kind == PUT else "deleted") == 1


@pytest.mark.parametrize("kind", [PUT, DELETE])
def test_epoch_what_was_accepted_since_is_not_looked_at(kind: str, scene: Scene) -> None:
    scene.accept(PUT, "before")
    scene.change_server()
    scene.run()
    scene.accept(kind, "since")
    scene.run()
    assert (scene.store.looked, scene.sent) == (["before"], ["before", "since"])


def test_epoch_of_a_batch_of_deletes_only_those_from_before_go_out_one_by_one(scene: Scene) -> None:
    scene.accept(DELETE, "a", "b")
    scene.change_server()
    scene.accept(DELETE, "c", "d")
    scene.run()
    assert sorted(scene.store.looked) == ["a", "b"]
    assert sorted(map(sorted, scene.store.deleted)) == [["a"], ["b"], ["c", "d"]]


@pytest.mark.parametrize("kind", [PUT, DELETE])
@pytest.mark.parametrize("fault", [TIMEOUT, DENIED], ids=lambda fault: fault.code)
def test_epoch_without_an_answer_nothing_is_sent_and_surely_nothing_was_applied(
    kind: str, fault: StoreFault, scene: Scene
) -> None:
    scene.accept(kind, "key")
    scene.change_server()
    scene.store.found = {"key": fault}
    claim = scene.run()
    assert (scene.sent, claim.sent) == ([], set())
    details = find(scene.queue, BUCKET, "key")
    assert details is not None
    failure = details.entry.failure
    assert failure is not None
    assert failure.code == fault.code
    assert failure.error_class != "unknown"
    assert failure.message.startswith("the look before the upload failed")
    assert scene.count("retried") == 1


def test_epoch_no_object_of_a_bucket_is_looked_at_that_was_suspended_after_the_claim(scene: Scene) -> None:
    scene.accept(PUT, "key")
    scene.change_server()
    claim = scene.parts.claim()
    for _ in range(OUTAGE_LEAST):
        scene.parts.breaker.answered(BUCKET, [DENIED])
    scene.run(claim)
    assert (scene.store.looked, scene.sent) == ([], [])
    assert scene.queue.stats().unfinished == 1


def test_epoch_a_look_leaves_the_try_of_a_bucket_that_only_this_worker_found_broken_to_the_upload(scene: Scene) -> None:
    scene.accept(PUT, "key")
    scene.change_server()
    scene.queue.client.zadd(scene.queue.prefix + "worker", {"other": 2**53 - 1})
    scene.queue.client.hset(scene.queue.prefix + "workers", "other", b"\x90")
    for _ in range(OUTAGE_LEAST):
        scene.parts.breaker.answered(BUCKET, [DENIED])
    assert scene.parts.breaker.skipped() == [BUCKET]
    scene.parts.breaker._tripped[BUCKET].until = 0.0
    scene.run()
    assert (scene.store.looked, scene.sent) == (["key"], ["key"])
    assert not scene.parts.breaker.is_open(BUCKET)
