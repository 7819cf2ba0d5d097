"""The store of the fault tests: each fault does to a client what it says, where and as often as it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from penstock_worker.stores import ErrorClass, PutRequest, Store, StoreConfig, StoreFault, open_store
from penstock_worker.stores.base import Engine
from tests.support import fault_s3
from tests.support.fault_s3 import Fault, FaultS3
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

BUCKET = "the-bucket"
LIMIT = 30.0
REQUEST_TIMEOUT = 0.5


@pytest.fixture
def s3() -> Iterator[FaultS3]:
    with FaultS3(seed=1) as server:
        yield server


@pytest.fixture(params=["obstore", "boto3"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture
def client(s3: FaultS3, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "worker-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    store = open_store(engine, StoreConfig(s3.endpoint_url, "us-east-1", "path", request_timeout=REQUEST_TIMEOUT))
    yield store
    store.close()


def put(client: Store, key: str, seq: int = 1, tags: Mapping[str, str] | None = None) -> StoreFault | None:
    metadata = {"penstock-seq": str(seq), "penstock-sha256": "00"}
    try:
        client.put(PutRequest(BUCKET, key, b"body", metadata=metadata, tags=tags or {}), lambda: None)
    except StoreFault as fault:
        return fault
    return None


@pytest.mark.parametrize(
    ("make", "applied"),
    [
        (fault_s3.reset_before, False),
        (fault_s3.reset_after, True),
        (fault_s3.cut_answer, True),
        (fault_s3.error_after, True),
        (lambda: fault_s3.late_answer(LIMIT), True),
    ],
)
def test_the_outcome_is_unknown_to_the_client_and_known_here(
    s3: FaultS3, client: Store, make: Callable[[], Fault], applied: bool
) -> None:
    with s3.broken(make()):
        fault = put(client, "key")
    assert fault is not None
    assert fault.error_class is ErrorClass.UNKNOWN
    assert (len(s3.versions("key", BUCKET)) == 1) is applied
    assert put(client, "key") is None


def test_a_held_request_lands_after_its_client_has_given_up(s3: FaultS3, client: Store) -> None:
    gate = s3.gate()
    with s3.broken(fault_s3.held(gate, prefix="held")):
        fault = put(client, "held", seq=1)
        assert fault is not None
        assert fault.code == "Timeout"
    assert put(client, "held", seq=2) is None
    gate.open()
    wait_until(lambda: len(s3.versions("held", BUCKET)) == 2, LIMIT, "the held one has landed")
    assert s3.objects[BUCKET, "held"].seq == 1
    assert (s3.versions("held", BUCKET)[0].by, s3.hits("held")) == ("worker-1", 1)


def test_a_fault_strikes_only_where_it_is_meant_to(s3: FaultS3, client: Store) -> None:
    def denied(**place: object) -> Fault:
        return fault_s3.refusal(403, "AccessDenied", **place)

    with s3.broken(denied(bucket="other"), denied(prefix="other"), denied(access_key="other"), denied(method="GET")):
        assert put(client, "key", tags={"a": "b"}) is None
    for place in ({"bucket": BUCKET}, {"prefix": "ke"}, {"access_key": "worker-1"}, {"method": "PUT"}):
        with s3.broken(denied(**place)):
            assert put(client, "key") is not None
    with s3.broken(denied(tagged=True)):
        assert put(client, "key") is None
        assert put(client, "key", tags={"a": "b"}) is not None
    assert s3.hits("AccessDenied") == 5


def test_in_a_bulk_delete_a_refusal_by_key_hits_that_key_and_one_without_hits_all(s3: FaultS3, client: Store) -> None:
    for key in ("a", "b"):
        assert put(client, key) is None
    with s3.broken(fault_s3.refusal(403, "AccessDenied", prefix="a")):
        assert list(client.delete_many(BUCKET, ["a", "b"], lambda: None)) == ["a"]
    assert set(s3.objects) == {(BUCKET, "a")}
    with s3.broken(fault_s3.refusal(403, "AccessDenied")), pytest.raises(StoreFault):
        client.delete_many(BUCKET, ["a"], lambda: None)
    assert client.delete_many(BUCKET, ["a"], lambda: None) == {}
    assert [version.sha256 for version in s3.versions("a", BUCKET)] == ["00", None]


def test_a_rate_is_a_share_of_the_requests_and_the_same_for_a_seed(s3: FaultS3, client: Store) -> None:
    with s3.broken(fault_s3.refusal(503, "SlowDown", rate=0.5)):
        refused = [put(client, f"{n}") is not None for n in range(40)]
    assert 5 < sum(refused) < 35
    assert sum(refused) == s3.hits("SlowDown")


def test_a_throttle_lets_so_many_through_a_second(s3: FaultS3, client: Store) -> None:
    with s3.broken(fault_s3.refusal(503, "SlowDown", above=0.001)):
        refused = [put(client, f"{n}") is not None for n in range(10)]
    assert refused == [False] + 9 * [True]
