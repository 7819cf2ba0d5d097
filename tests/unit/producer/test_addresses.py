"""Addresses of Redis: what is taken, and what is shown of them."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import redis
from redis import exceptions

from penstock import AsyncProducer, InvalidSetting, Producer, QueueMismatch, QueueUnavailable
from penstock.queue.address import Address, read_address
from penstock.queue.bounded import LEAST_SECONDS, BoundedUnixConnection
from penstock.queue.connection import Fate, fate_of, open_async_pool, open_pool, show_url, translate
from penstock.queue.routed import RoutedSSLConnection


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:s3cr3t@host:1/2", "redis://:***@host:1/2"),
        ("rediss://user:s3cr3t@host:1", "rediss://user:***@host:1"),
        ("redis://user@host", "redis://user@host"),
        ("redis://:s3/cr3t@host/0", "redis://:***@host/0"),
        ("redis://:s3#cr3t@host/0", "redis://:***@host/0"),
        ("redis://:s3?cr3t@host/0", "redis://:***@host/0"),
        ("redis://:s3@cr3t@host/0", "redis://:***@host/0"),
        ("redis://host/0?password=s3cr3t", "redis://host/0"),
        ("unix:///run/redis.sock?password=s3cr3t", "unix:///run/redis.sock"),
        ("user:s3cr3t@host:6379", "user:***@host:6379"),
        ("redis://[broken:s3cr3t@host", "redis://[broken:***@host"),
        ("redis+cluster://user:s3cr3t@one:1,two:2", "redis+cluster://user:***@one:1,two:2"),
        (
            "rediss+sentinel://user:s3cr3t@one:1,two:2/name/3?sentinel_password=s3cr3t",
            "rediss+sentinel://user:***@one:1,two:2/name/3",
        ),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert show_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:6379", "http://user:s3cr3t@host", "redis:/host", "", "user:s3cr3t@host"),
        *("redis://:s3/cr3t@host:6379", "redis://user:s3cr3t@host:port", "redis://:s3cr3t@[::1/0"),
        *("redis://:s3cr3t@host?no_such_option=1", "redis://:s3cr3t@host?socket_timeout=soon"),
        "redis://:s3cr3t@host..name:6379",
        *("redis+other://:s3cr3t@host", "redis+sentinel://:s3cr3t@host", "redis+sentinel://:s3cr3t@host/name/x"),
        *("redis+sentinel://:s3cr3t@host/name/0/more", "redis+sentinel://:s3cr3t@one,,two/name", "redis+cluster://"),
        *("redis+cluster://:s3cr3t@one:port", "redis+cluster://:s3cr3t@host/1", "redis+cluster://:s3cr3t@host/name"),
        *(
            "redis+cluster://:s3cr3t@host?no_such_option=1",
            "redis+cluster://:s3/cr3t@host",
            "redis+cluster://:s3cr3t@[one",
        ),
        "redis+cluster://:s3cr3t@one..name,two",
        "redis+sentinel://host/name?sentinel_passwort=s3cr3t",
    ],
)
@pytest.mark.parametrize("kind", [Producer, AsyncProducer])
def test_a_bad_address_is_refused_when_the_producer_is_made_and_its_password_not_shown(
    kind: type[Producer | AsyncProducer], url: str
) -> None:
    with pytest.raises(InvalidSetting, match="PENSTOCK_REDIS_URL") as caught:
        kind(url)
    text = str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.args)
    assert "s3cr3t" not in text
    assert "cr3t" not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("open_a_pool", [open_pool, open_async_pool])
def test_an_address_cannot_lift_the_time_limits_or_redis_pys_retries(open_a_pool: object) -> None:
    assert callable(open_a_pool)
    pool = open_a_pool(
        "redis://u:p@h:1/2?socket_timeout=99&socket_connect_timeout=99&decode_responses=1&protocol=3", 0.5
    )
    connection = pool.make_connection()
    assert (connection.host, connection.port, connection.db) == ("h", 1, 2)
    assert (connection.username, connection.password) == ("u", "p")
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.5, 0.5)
    assert connection.retry.get_retries() == 0
    assert connection.encoder.decode_responses is False


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:p@h:1/2", Address("redis://u:p@h:1/2")),
        (
            "redis+cluster://u:p%2F@one:1,[::1],three",
            Address("redis://u:p%2F@one:1/0", (("one", 1), ("::1", 6379), ("three", 6379))),
        ),
        (
            "rediss+sentinel://u:p@one,two:2/the%2Fname/3?sentinel_password=a%26b&ssl_ca_certs=/ca.pem",
            Address(
                "rediss://u:p@one/3?ssl_ca_certs=%2Fca.pem",
                (("one", 26379), ("two", 2)),
                "the/name",
                (("username", None), ("password", "a&b")),
            ),
        ),
        (
            "redis+sentinel://one/name",
            Address("redis://one/0", (("one", 26379),), "name", (("username", None), ("password", None))),
        ),
    ],
)
def test_what_an_address_says(url: str, expected: Address) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize("open_a_pool", [open_pool, open_async_pool])
def test_the_servers_login_is_not_sentinels(open_a_pool: Any) -> None:
    url = "redis+sentinel://u:s3cr3t@one/name/4?sentinel_username=watch&sentinel_password=w0rd"
    connection = open_a_pool(url, 0.5, "default").make_connection()
    assert (connection.username, connection.password, connection.db) == ("u", "s3cr3t", 4)
    asker = connection._asker(("one", 26379), 0.1)
    assert (asker.username, asker.password, asker.db, asker.socket_timeout) == ("watch", "w0rd", 0, 0.1)
    asker = open_a_pool("redis+cluster://u:s3cr3t@one", 1, "default").make_connection()._asker(("one", 1), 0.1)
    assert (asker.username, asker.password) == ("u", "s3cr3t")


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "redis+sentinel://h/name", "unix:///run/redis.sock"])
def test_while_it_connects_each_operation_of_a_connection_has_what_is_left(url: str) -> None:
    connection: Any = open_pool(url, 3.0).make_connection()
    connection.socket_connect_timeout = 2.0
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (3.0, 2.0)
    connection.deadline = time.monotonic() + 1.0
    assert 0 < connection.socket_timeout <= 1.0
    assert 0 < connection.socket_connect_timeout <= 1.0
    connection.deadline = time.monotonic() + 3600
    assert connection.socket_connect_timeout == 2.0
    connection.deadline = time.monotonic() - 1.0
    assert connection.socket_timeout == connection.socket_connect_timeout == LEAST_SECONDS


def test_tls_and_unix_sockets_are_kept() -> None:
    assert isinstance(open_pool("rediss://h", 1).make_connection(), redis.SSLConnection)
    for url in ("rediss+cluster://h", "rediss+sentinel://h/name"):
        secure = open_pool(url, 1).make_connection()
        assert isinstance(secure, RoutedSSLConnection)
        assert isinstance(secure._asker(("h", 1), 1), redis.SSLConnection)
    assert open_pool("unix:///run/redis.sock", 1).connection_class is BoundedUnixConnection
    assert open_async_pool("unix:///run/redis.sock", 1).connection_kwargs["path"] == "/run/redis.sock"


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (exceptions.ConnectionError("Connection closed by server."), Fate.BROKEN),
        (exceptions.TimeoutError("Timeout reading from host"), Fate.BROKEN),
        (exceptions.NoScriptError("No matching script."), Fate.NO_SCRIPT),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Fate.REFUSED),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), Fate.REFUSED),
        (exceptions.MasterDownError("Link with MASTER is down"), Fate.REFUSED),
        (exceptions.ClusterDownError("The cluster is down"), Fate.REFUSED),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), Fate.REFUSED),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), Fate.REFUSED),
        (exceptions.ConnectionError("max number of clients reached"), Fate.REFUSED),
        (exceptions.AuthenticationError("invalid username-password pair"), Fate.REJECTED),
        (exceptions.NoPermissionError("this user has no permissions"), Fate.REJECTED),
        (exceptions.OutOfMemoryError("command not allowed"), Fate.REJECTED),
        (exceptions.ResponseError("LAYOUT 2"), Fate.REJECTED),
        (exceptions.MovedError("866 127.0.0.1:7001"), Fate.REJECTED),
        (exceptions.ResponseError("user_script:3: attempt to call a nil value"), Fate.FAILED),
        (exceptions.InvalidResponse("Protocol Error"), Fate.FAILED),
    ],
    ids=lambda value: f"{type(value).__name__}" if isinstance(value, Exception) else value.name,
)
def test_what_redis_says_decides_whether_a_call_may_have_run(error: redis.RedisError, fate: Fate) -> None:
    assert fate_of(error) is fate


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (exceptions.ConnectionError("Error 111 connecting to h:1. Connection refused."), "Check that it runs"),
        (exceptions.AuthenticationError("invalid password"), "refused the login: check user and password"),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "maxmemory: raise it"),
        (exceptions.ResponseError("something else"), "answered with an error: something else"),
    ],
)
@pytest.mark.parametrize("maybe", [True, False])
def test_our_error_names_the_server_and_says_what_to_do(error: redis.RedisError, advice: str, maybe: bool) -> None:
    ours = translate(error, "redis://:s3cr3t@h:1/0", maybe_accepted=maybe)
    assert isinstance(ours, QueueUnavailable)
    assert ours.maybe_accepted is maybe
    assert "redis://:***@h:1/0" in str(ours)
    assert advice in str(ours)


def test_another_layout_is_a_mismatch_that_names_it() -> None:
    ours = translate(exceptions.ResponseError("LAYOUT 7"), "redis://h", maybe_accepted=False)
    assert isinstance(ours, QueueMismatch)
    assert "layout 7" in str(copy.copy(ours))
    assert "upgrade" in str(ours)
