"""What a producer does when a server stops being the master in the middle of a call, moment by moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from penstock import NotDurable
from penstock.queue.connection import Fate, fate_of
from penstock.queue.durability import no_sync
from tests.support.fake_redis import ACCEPTED, fake_redis
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer
from tests.support.stale_sentinel import stale_sentinel

UNBLOCKED = b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n"
ON_REPLICA = b"-ERR %b cannot be used with replica instances. Please also note that writes are just local.\r\n"
SYNCED = b"*2\r\n:1\r\n:0\r\n"
NONE_YET = b":0\r\n"

Kind = Callable[..., AnyProducer]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("durability", ["replicas:1", "fsync"])
@pytest.mark.parametrize("verdicts", [[UNBLOCKED], [NONE_YET, UNBLOCKED], [NONE_YET, ON_REPLICA % b"WAIT"]])
def test_a_call_whose_master_is_demoted_before_it_is_safe_is_sent_to_the_next_one(
    kind: Kind, durability: str, verdicts: list[bytes]
) -> None:
    left = list(verdicts)
    calls: list[list[bytes]] = []

    def answer(connection: int, words: list[bytes]) -> bytes:
        if words[0] == b"EVALSHA":
            calls.append(words)
            return ACCEPTED
        if words[-1] == b"1" and words[0] == b"WAITAOF":
            return SYNCED  # the probe
        if connection == 1:
            return left.pop(0)
        return SYNCED if words[0] == b"WAITAOF" else b":1\r\n"

    with fake_redis(answer) as fake, kind(fake.url, durability=durability, timeout=HANG) as producer:
        assert producer.put("key", b"body", bucket=BUCKET).seq == 7
    assert fake.connections == 2
    assert left == []
    assert len(calls) == 2
    assert calls[0] == calls[1], "under the same number"


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_not_wait_is_still_told_that_the_write_was_accepted(kind: Kind) -> None:
    def answer(_: int, words: list[bytes]) -> bytes:
        return ACCEPTED if words[0] == b"EVALSHA" else b"-NOPERM no permission to run 'wait'\r\n"

    with (
        fake_redis(answer) as fake,
        kind(fake.url, durability="replicas:1", timeout=HANG) as producer,
        pytest.raises(NotDurable, match="no permission"),
    ):
        producer.put("key", b"body", bucket=BUCKET)
    assert fake.connections == fake.count(b"EVALSHA") == 1


def of_a_replica(_: int, words: list[bytes]) -> bytes:
    return (
        b"-READONLY You can't write against a read only replica.\r\n"
        if words[0] != b"WAITAOF"
        else ON_REPLICA % words[0]
    )


def of_a_master(_: int, words: list[bytes]) -> bytes:
    return ACCEPTED if words[0] == b"EVALSHA" else SYNCED


@pytest.mark.parametrize("kind", KINDS)
def test_fsync_waits_for_a_server_to_become_the_master(kind: Kind) -> None:
    def answer(connection: int, words: list[bytes]) -> bytes:
        return of_a_replica(connection, words) if connection <= 2 else of_a_master(connection, words)

    with fake_redis(answer) as fake, kind(fake.url, durability="fsync", timeout=HANG) as producer:
        assert producer.put("key", b"body", bucket=BUCKET).seq == 7
    assert fake.connections == 3
    assert fake.count(b"EVALSHA") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_with_fsync_too_who_tells_of_a_master_that_is_none_is_asked_last_from_then_on(kind: Kind) -> None:
    with (
        fake_redis(of_a_replica) as replica,
        fake_redis(of_a_master) as master,
        stale_sentinel(replica.port) as stale,
        stale_sentinel(master.port) as right,
        kind(
            f"redis+sentinel://127.0.0.1:{stale},127.0.0.1:{right}/name", durability="fsync", timeout=HANG
        ) as producer,
    ):
        assert producer.put("key", b"body", bucket=BUCKET).seq == 7
    assert (replica.connections, master.connections) == (1, 1)
    assert replica.count(b"EVALSHA") == 0


def test_what_a_replica_says_to_the_probe_is_that_it_is_read_only() -> None:
    """Also where nothing else knows: on a Unix socket."""
    said = redis.ResponseError((ON_REPLICA % b"WAITAOF").decode().removeprefix("-ERR ").strip())
    assert fate_of(no_sync(said)) is Fate.REFUSED
