"""A call that holds writes of several callers, and of which Redis refuses a part."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
import redis

from penstock import NotDurable, Producer
from penstock.async_channel import AsyncChannel
from penstock.calls import Caller, Options
from penstock.errors import PenstockError, QueueUnavailable
from penstock.packing import pack
from penstock.queue.commit import Group
from penstock.queue.connection import open_client
from penstock.queue.enqueue import Accepted
from penstock.queue.names import key_prefix
from penstock.sync_channel import Channel
from penstock.values import Write
from tests.support.producers import KINDS, AnyProducer
from tests.support.queue import LARGE

LIMIT = 60.0
"""Seconds, against hangs only."""


@contextmanager
def user_without(redis_url: str, *rules: str) -> Iterator[str]:
    """The address of a user who may do what the rules leave."""
    user = f"user-{uuid.uuid4().hex}"
    with open_client(redis_url, LIMIT) as admin:
        admin.execute_command("ACL", "SETUSER", user, "on", ">word", "+@all", *rules)
        try:
            yield redis_url.replace("redis://", f"redis://{user}:word@")
        finally:
            admin.execute_command("ACL", "DELUSER", user)


def options(url: str, queue: str) -> Options:
    return Options.make(url, queue, "bucket", LIMIT, 2 * len(LARGE), None, "memory")


def groups(caller: Caller) -> list[Group]:
    return [[pack(caller.check(Write(key="small", body=b"x")))], [pack(caller.check(Write(key="large", body=LARGE)))]]


async def send(caller: Caller) -> list[Accepted | PenstockError]:
    channel = AsyncChannel(caller)
    try:
        await channel.ready(time.monotonic() + LIMIT)
        return await channel.send(groups(caller), time.monotonic() + LIMIT)
    finally:
        await channel.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_who_shares_a_call_with_a_refused_large_body_is_told_that_its_write_was_accepted(
    redis_url: str, queue_name: str, is_async: bool
) -> None:
    prefix = key_prefix(queue_name)
    with user_without(redis_url, f"~{prefix}[^b]*", f"%R~{prefix}b*") as url:
        caller = Caller(options(url, queue_name))
        if is_async:
            small, large = asyncio.run(send(caller))
        else:
            with closing(Channel(caller)) as channel:
                channel.ready(time.monotonic() + LIMIT)
                small, large = channel.send(groups(caller), time.monotonic() + LIMIT)
    with redis.Redis.from_url(redis_url) as client:
        assert client.hkeys(key_prefix(queue_name) + "write") == [b"bucket/small"]
    assert not isinstance(small, PenstockError)
    assert isinstance(large, QueueUnavailable)
    assert not large.maybe_accepted
    assert "permission" in str(large), "what Redis refused it for"


@pytest.mark.parametrize("kind", KINDS)
def test_who_may_not_wait_for_replicas_is_told_at_once_and_redis_is_not_asked_again(
    kind: Callable[..., AnyProducer], redis_url: str, queue_name: str
) -> None:
    with kind(redis_url, queue=queue_name) as producer:
        producer.put("script", b"is loaded", bucket="bucket")
    with open_client(redis_url, LIMIT) as admin:
        admin.config_resetstat()
        with (
            user_without(redis_url, "~*", "-wait") as url,
            kind(url, queue=queue_name, timeout=2.0, durability="replicas:1") as producer,
            pytest.raises(NotDurable, match="permission"),
        ):
            producer.put("small", b"x", bucket="bucket")
        assert admin.info("commandstats")["cmdstat_wait"]["rejected_calls"] == 1


def test_a_script_that_lacks_a_right_in_its_middle_may_have_accepted_the_write(redis_url: str, queue_name: str) -> None:
    with (
        user_without(redis_url, "~*", "-set") as url,
        Producer(url, queue=queue_name, bucket="bucket") as producer,
        pytest.raises(QueueUnavailable, match="script") as caught,
    ):
        producer.put("small", b"x")
    with redis.Redis.from_url(redis_url) as client:
        assert client.hkeys(key_prefix(queue_name) + "write") == [b"bucket/small"]
    assert caught.value.maybe_accepted
