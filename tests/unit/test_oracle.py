"""The judge of the fault tests: each way in which a run can be wrong makes it fail, and a right run passes."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator

import pytest

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.stores import PutRequest, StoreConfig
from penstock_worker.stores.boto import BotoStore
from tests.support import fault_s3
from tests.support.fault_s3 import FaultS3
from tests.support.ledger import Accepted, Ledger, who
from tests.support.oracle import Oracle
from tests.support.worker import BUCKET

pytestmark = pytest.mark.integration

SOON = 0.05  # seconds: the queue is empty already, or never will be


class Uploads:
    """What a worker does, by hand and as wrong as a test wants it."""

    def __init__(self, endpoint_url: str) -> None:
        self._store = BotoStore(StoreConfig(endpoint_url, "us-east-1", "path"))

    def put(self, key: str, body: bytes, seq: int, sha256: str = "") -> None:
        metadata = {"penstock-seq": str(seq), "penstock-sha256": sha256 or hashlib.sha256(body).hexdigest()}
        self._store.put(PutRequest(BUCKET, key, body, metadata=metadata), lambda: None)

    def delete(self, key: str) -> None:
        assert self._store.delete_many(BUCKET, [key], lambda: None) == {}

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def store() -> Iterator[FaultS3]:
    with FaultS3() as server:
        yield server


@pytest.fixture
def uploads(store: FaultS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "by-hand")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    one = Uploads(store.endpoint_url)
    yield one
    one.close()


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[Queue]:
    client = open_client(redis_url, 30.0)
    yield Queue(client, queue_name)
    client.close()


@pytest.fixture
def producer(redis_url: str, queue_name: str) -> Iterator[Producer]:
    with Producer(redis_url, queue=queue_name, bucket=BUCKET) as one:
        yield one


@pytest.fixture
def oracle(store: FaultS3, queue: Queue) -> Oracle:
    return Oracle(store, queue)


def drain(queue: Queue) -> None:
    """Throws away what waits, as if it had been settled."""
    for key in queue.client.keys(queue.prefix.replace("{", "[{]") + "*"):
        queue.client.delete(key)


def test_each_object_is_the_last_accepted_write(
    producer: Producer, queue: Queue, store: FaultS3, oracle: Oracle, uploads: Uploads
) -> None:
    first = oracle.ledger.put(producer, "key", b"one")
    last = oracle.ledger.put(producer, "key", b"two")
    oracle.ledger.put(producer, "gone", b"one")
    oracle.ledger.delete(producer, "gone")
    drain(queue)
    uploads.put("key", b"two", last.seq)
    uploads.put("key", b"one", first.seq)  # an old one lands late, and is repaired
    uploads.put("key", b"two", last.seq)
    uploads.delete("gone")
    summary = oracle.check()
    assert (summary.accepted, summary.stored, summary.superseded) == (4, 3, 1)
    assert (summary.overtaken, summary.repaired, summary.lost, summary.wrong) == (1, 1, 0, 0)


def test_what_is_wrong_is_found(producer: Producer, queue: Queue, oracle: Oracle, uploads: Uploads) -> None:
    ledger = oracle.ledger
    old = ledger.put(producer, "old", b"one")
    ledger.put(producer, "old", b"two")
    ledger.put(producer, "lost", b"one")
    gone = ledger.put(producer, "gone", b"one")
    ledger.delete(producer, "gone")
    broken = ledger.put(producer, "broken", b"one")
    right = ledger.put(producer, "right", b"one")
    drain(queue)
    uploads.put("old", b"one", old.seq)
    uploads.put("gone", b"one", gone.seq)
    uploads.put("broken", b"onE", broken.seq, hashlib.sha256(b"one").hexdigest())
    uploads.put("right", b"one", right.seq)
    uploads.put("invented", b"one", 1)
    with pytest.raises(AssertionError, match="5 objects are wrong"):
        oracle.check()


def test_a_version_that_nobody_wrote_is_found_even_if_the_last_one_is_right(
    producer: Producer, queue: Queue, oracle: Oracle, uploads: Uploads
) -> None:
    receipt = oracle.ledger.put(producer, "key", b"one")
    drain(queue)
    uploads.put("key", b"two", receipt.seq)
    uploads.put("key", b"one", receipt.seq)
    with pytest.raises(AssertionError, match="written by nobody"):
        oracle.check()


def test_a_queue_that_is_not_drained_and_faults_that_did_not_strike_are_found(
    producer: Producer, queue: Queue, oracle: Oracle, uploads: Uploads
) -> None:
    receipt = oracle.ledger.put(producer, "key", b"one")
    uploads.put("key", b"one", receipt.seq)
    with pytest.raises(AssertionError, match="the queue is drained"):
        oracle.check(limit=SOON)
    drain(queue)
    oracle.check(limit=SOON)
    with pytest.raises(AssertionError, match="SlowDown struck 0 times"):
        oracle.check(limit=SOON, faults={"SlowDown": 1})
    with pytest.raises(AssertionError):
        oracle.check(limit=SOON, dead={(BUCKET, "key")})


def test_a_write_whose_answer_was_lost_may_be_last_until_its_producer_writes_again(
    producer: Producer, queue: Queue, oracle: Oracle, uploads: Uploads
) -> None:
    receipt = oracle.ledger.put(producer, "key", b"one")
    entry = oracle.ledger.entry((BUCKET, "key"))
    doubtful = hashlib.sha256(b"two").hexdigest()
    entry.doubt(who(producer), doubtful)
    drain(queue)
    for seq, body in ((receipt.seq, b"one"), (receipt.seq + 1, b"two")):
        uploads.put("key", body, seq)
        oracle.check()
    again = oracle.ledger.put(producer, "key", b"three")
    assert not entry.may_be_last(receipt.seq + 1, doubtful)
    assert entry.may_be_last(again.seq, hashlib.sha256(b"three").hexdigest())


def test_what_redis_may_have_forgotten_may_be_there_or_not_and_nothing_older_than_the_rest(
    producer: Producer, queue: Queue, oracle: Oracle, uploads: Uploads
) -> None:
    name, doubtful = (BUCKET, "key"), hashlib.sha256(b"doubtful").hexdigest()
    older = oracle.ledger.put(producer, "key", b"older")
    kept = oracle.ledger.put(producer, "key", b"kept")
    oracle.ledger.entry(name).doubt(who(producer), doubtful)
    before = time.time()
    lost = oracle.ledger.put(producer, "key", b"lost")
    assert oracle.ledger.forget_between([(before, time.time())]) == 1
    drain(queue)
    for seq, body in ((kept.seq, b"kept"), (lost.seq - 1, b"doubtful"), (lost.seq, b"lost")):
        uploads.put("key", body, seq)
        oracle.check()
        assert oracle.lost_of_forgotten() == (body != b"lost")
    oracle.begin_round()
    oracle.check()
    uploads.put("key", b"older", older.seq)
    with pytest.raises(AssertionError):
        oracle.check()


def test_a_failure_shows_the_history_of_the_object(
    producer: Producer, queue: Queue, oracle: Oracle, uploads: Uploads, capsys: pytest.CaptureFixture[str]
) -> None:
    old = oracle.ledger.put(producer, "key", b"one")
    last = oracle.ledger.delete(producer, "key")
    drain(queue)
    uploads.put("key", b"one", old.seq)
    with pytest.raises(AssertionError):
        oracle.check()
    printed = capsys.readouterr().out
    assert f"accepted delete as {last.seq}" in printed
    assert f"as {old.seq} from by-hand" in printed


def test_a_signature_counts_by_its_age_when_the_request_is_applied(
    store: FaultS3, uploads: Uploads, queue: Queue
) -> None:
    store.signature_window = 60.0
    uploads.put("key", b"one", 1)
    store.signature_window = -1.0  # nothing is young enough
    with pytest.raises(Exception, match="RequestTimeTooSkewed"):
        uploads.put("key", b"two", 2)
    assert store.hits(fault_s3.TOO_OLD) == 1
    assert [version.seq for version in store.versions("key", BUCKET)] == [1]


def spooled(oracle: Oracle, key: str, body: bytes, began: float, at: float, seq: int = 0) -> None:
    """A write that was accepted then, as a process's journal tells it; without a number in the spool."""
    journal = io.StringIO()
    one = Accepted(seq, hashlib.sha256(body).hexdigest(), at, began=began)
    Ledger(journal).note(1, (BUCKET, key), one)
    oracle.ledger.take(journal.getvalue())


def test_of_spooled_writes_the_one_that_was_accepted_last_must_stand(oracle: Oracle, uploads: Uploads) -> None:
    spooled(oracle, "key", b"direct", 1, 2, seq=100)
    spooled(oracle, "key", b"first", 3, 4)
    spooled(oracle, "key", b"second", 5, 7)
    spooled(oracle, "key", b"meanwhile", 6, 8)
    assert (oracle.ledger.count, oracle.ledger.spooled) == (4, 3)
    for seq, body in enumerate((b"second", b"meanwhile"), 300):
        uploads.put("key", body, seq)
        oracle.check(limit=SOON)
    for seq, body in ((100, b"direct"), (200, b"first")):
        uploads.put("key", body, seq)
        with pytest.raises(AssertionError, match="stands"):
            oracle.check(limit=SOON)
    spooled(oracle, "key", b"last", 9, 10, seq=400)
    uploads.put("key", b"last", 400)
    oracle.check(limit=SOON)


def test_writes_that_were_turned_round_or_counted_twice_are_found_even_if_the_last_one_is_right(
    oracle: Oracle, uploads: Uploads
) -> None:
    for key in ("turned", "twice", "right"):
        for at, body in enumerate((b"first", b"second", b"last")):
            spooled(oracle, key, body, at, at + 0.5)
    for body, seq in ((b"first", 102), (b"second", 101), (b"last", 103)):
        uploads.put("turned", body, seq)
    for body, seq in ((b"first", 101), (b"last", 102), (b"last", 103)):
        uploads.put("twice", body, seq)
    for body, seq in ((b"first", 101), (b"last", 103), (b"last", 103)):
        uploads.put("right", body, seq)
    with pytest.raises(AssertionError, match="2 objects are wrong") as caught:
        oracle.check(limit=SOON)
    assert "was accepted after" in str(caught.value)
