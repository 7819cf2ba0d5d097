"""What a producer does when a server stops being the master in the middle of a call, moment by moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock import NotDurable
from tests.support.fake_redis import ACCEPTED, fake_redis
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer

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
