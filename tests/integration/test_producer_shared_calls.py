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
from tests.support.fake_redis import fake_redis
from tests.support.producers import KINDS, AnyProducer
from tests.support.queue import LARGE

LIMIT = 60.0
"""Seconds, against hangs only."""
SHORT = 0.5
"""A call's time limit where it is reached."""
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
SMALL_ALONE = b"$27\r\nA" + (7).to_bytes(8) + b"\x00m" + bytes(16) + b"\r\n"
"""The script's answer when the small write was accepted, and the large body was not there."""


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


def options(url: str, queue: str, limit: float = LIMIT) -> Options:
    return Options.make(url, queue, "bucket", limit, 2 * len(LARGE), None, "memory")


def groups(caller: Caller) -> list[Group]:
    return [[pack(caller.check(Write(key="small", body=b"x")))], [pack(caller.check(Write(key="large", body=LARGE)))]]


def call(caller: Caller, is_async: bool, limit: float = LIMIT) -> list[Accepted | PenstockError]:
    deadline = time.monotonic() + limit
    if is_async:
        return asyncio.run(async_call(caller, deadline))
    with closing(Channel(caller)) as channel:
        channel.ready(deadline)
        return channel.send(groups(caller), deadline)


async def async_call(caller: Caller, deadline: float) -> list[Accepted | PenstockError]:
    channel = AsyncChannel(caller)
    try:
        await channel.ready(deadline)
        return await channel.send(groups(caller), deadline)
    finally:
        await channel.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_who_shares_a_call_with_a_refused_large_body_is_told_that_its_write_was_accepted(
    redis_url: str, queue_name: str, is_async: bool
) -> None:
    prefix = key_prefix(queue_name)
    with user_without(redis_url, f"~{prefix}[^b]*", f"%R~{prefix}b*") as url:
        small, large = call(Caller(options(url, queue_name)), is_async)
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


@pytest.mark.parametrize("is_async", [False, True])
def test_who_shares_a_call_with_a_large_body_that_came_while_redis_loaded_may_be_accepted(is_async: bool) -> None:
    """Redis ended loading between the two: it refused the body, and accepted the small write."""

    def answer(connection: int, words: list[bytes]) -> bytes:
        if connection > 1:
            return b"-READONLY You can't write against a read only replica.\r\n"
        return LOADING if words[0] == b"SET" else SMALL_ALONE

    with fake_redis(answer) as fake, pytest.raises(QueueUnavailable) as caught:
        call(Caller(options(fake.url, "queue", SHORT)), is_async, SHORT)
    assert fake.connections > 1
    assert caught.value.maybe_accepted


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_with_a_large_body_that_came_while_redis_loaded_is_sent_again_under_its_number(is_async: bool) -> None:
    numbers: list[bytes] = []

    def answer(connection: int, words: list[bytes]) -> bytes:
        if words[0] == b"SET":
            return LOADING if connection == 1 else b"+OK\r\n"
        numbers.append(words[6])
        return SMALL_ALONE  # as it was answered the first time

    with fake_redis(answer) as fake:
        small, large = call(Caller(options(fake.url, "queue")), is_async)
    assert small == [(7, False)]
    assert isinstance(large, QueueUnavailable)
    assert not large.maybe_accepted
    assert numbers == [numbers[0]] * 2
    assert fake.connections == 2


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
