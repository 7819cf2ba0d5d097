"""Connections to Redis: made lazily, with redis-py's own retries off, and what its errors say about a call.

Importing this module imports redis (150 to 250 ms), so a producer does it when it is made.
"""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.errors import InvalidSetting, PenstockError, QueueMismatch, QueueUnavailable
from penstock.queue.address import EXAMPLES, SCHEMES, kind_of, read_address
from penstock.queue.bounded import BoundedUnixConnection
from penstock.queue.durability import NoSyncError
from penstock.queue.names import LAYOUT_VERSION, key_prefix
from penstock.queue.route import NoMasterError, Route
from penstock.queue.routed import (
    AsyncRoutedConnection,
    AsyncRoutedSSLConnection,
    RoutedConnection,
    RoutedSSLConnection,
)

DEAD_LINK_SECONDS = 2.0
"""TCP's own tries come after pauses that double: a network that is back would be noticed seconds later."""
_USER_TIMEOUT: int = getattr(socket, "TCP_USER_TIMEOUT", 0)  # Linux
_HANGUP: int = getattr(select, "POLLRDHUP", 0)  # Linux; POLLHUP and POLLERR are reported without asking


class LookAgain(QueueUnavailable):
    """Much has ended since the sender of spooled writes has looked: nothing was accepted."""

    def __init__(self) -> None:
        super().__init__("much has ended since the last look at the queue", maybe_accepted=False)


class Fate(Enum):
    """What an error of redis-py says about the call that met it."""

    BROKEN = auto()
    """No answer. Whether it ran is unknown, if it was sent."""
    REFUSED = auto()
    """It did not run; it may be accepted soon, maybe by another server: loading, a replica, a script that blocks."""
    REJECTED = auto()
    """It did not run, and sending it again does not help."""
    NO_SCRIPT = auto()
    """It did not run, because Redis does not have the script."""
    FAILED = auto()
    """It may have run in part."""


_EXCEPTIONS = redis.exceptions
# In this order: redis-py makes some answers of the server ConnectionErrors.
_FATES: tuple[tuple[type[redis.RedisError], Fate], ...] = (
    (_EXCEPTIONS.NoScriptError, Fate.NO_SCRIPT),
    (_EXCEPTIONS.BusyLoadingError, Fate.REFUSED),
    (_EXCEPTIONS.ReadOnlyError, Fate.REFUSED),
    (_EXCEPTIONS.TryAgainError, Fate.REFUSED),
    (_EXCEPTIONS.ClusterDownError, Fate.REFUSED),  # MasterDownError too
    (NoMasterError, Fate.REFUSED),
    (NoSyncError, Fate.REJECTED),
    (_EXCEPTIONS.AuthenticationError, Fate.REJECTED),
    (_EXCEPTIONS.AuthorizationError, Fate.REJECTED),
    (_EXCEPTIONS.NoPermissionError, Fate.REJECTED),
    (_EXCEPTIONS.OutOfMemoryError, Fate.REJECTED),
    (_EXCEPTIONS.AskError, Fate.REJECTED),  # MovedError too
    (_EXCEPTIONS.ClusterCrossSlotError, Fate.REJECTED),
)
_REFUSALS = ("BUSY ", "MISCONF", "NOREPLICAS", "max number of clients")
_NO_LOGIN = "Protocol error: unauthenticated"
"""The answer to a command of more than ten words from one who has not logged in."""
_REJECTIONS = (
    *("LAYOUT ", "SHARDS ", "OOM", "DB index", "unknown command", _NO_LOGIN),
    "This instance has cluster support disabled",
)
_DISTRUST = re.compile(r"certificate verify failed: (.*?)(?: \(_ssl\.c|$)")
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def fate_of(error: redis.RedisError) -> Fate:
    for kind, fate in _FATES:
        if isinstance(error, kind):
            return fate
    text = str(error)
    if text.startswith(_REFUSALS):
        return Fate.REFUSED
    if text.startswith(_REJECTIONS):
        return Fate.REJECTED
    if isinstance(error, _EXCEPTIONS.ConnectionError | _EXCEPTIONS.TimeoutError):
        # A certificate does not get better within a call's time.
        return Fate.REJECTED if _DISTRUST.search(text) else Fate.BROKEN
    return Fate.FAILED


def show_url(url: str) -> str:
    """The address without its password. Takes what is no URL too: a ``/`` or ``#`` in a password breaks it."""
    scheme, separator, rest = url.rpartition("://")
    credentials, at, address = rest.rpartition("@")
    user = credentials.partition(":")[0]
    # Options behind the question mark may hold a password as well.
    address = re.split("[?#]", address, maxsplit=1)[0]
    return f"{scheme}{separator}{user}{':***' if ':' in credentials else ''}{at}{address}"


def _options(timeout: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": 0,
        "protocol": 2,
        "decode_responses": False,
    }


def _open(pools: Any, retry: object, kinds: tuple[type, type, type], url: str, timeout: float, key: str | None) -> Any:
    if not kind_of(url) and not url.startswith(SCHEMES):
        raise InvalidSetting(f"PENSTOCK_REDIS_URL={show_url(url)}: it must begin with {' or '.join(SCHEMES)}")
    try:
        address = read_address(url)
        given = pools.connection.parse_url(address.server)
        missing = [f"{name}={given[name]}" for name in _FILES if name in given and not os.path.isfile(given[name])]
        for host in [given.get("host", ""), *(host for host, _ in address.nodes)]:
            host.encode("idna")
        # Ours come last: what a URL says must not lift the time limits. redis-py would send a call again up to ten
        # times by itself; sending again is the callers' business here, because they know the call's number.
        options = {**given, **_options(timeout), "retry": retry}
        if "path" in given:  # a Unix socket
            options["connection_class"] = kinds[2]
        else:
            is_tls = "connection_class" in given
            options |= {"connection_class": kinds[is_tls], "route": Route(address, key), "socket_keepalive": True}
        pool = pools.ConnectionPool(**options)
        pool.connection_class(**pool.connection_kwargs)  # connects to nothing, but refuses unknown options
    except (ValueError, TypeError, redis.RedisError):
        # The error's own text may hold a part of a password that was not percent-encoded.
        raise InvalidSetting(
            f"PENSTOCK_REDIS_URL={show_url(url)} cannot be read: {EXAMPLES[kind_of(url)]} is expected, with "
            "special characters in the password percent-encoded and no unknown options"
        ) from None
    if missing:
        raise InvalidSetting(f"PENSTOCK_REDIS_URL={show_url(url)}: {missing[0]} is no file")
    return pool


def open_pool(
    url: str, timeout: float, queue: str | None = None, shard: int = 0, shards: int = 1
) -> redis.ConnectionPool:
    """A pool whose connections wait at most ``timeout`` seconds for each socket operation. Connects to nothing yet.

    Each connection finds the server that takes the writes of the queue's shard when it connects: on a cluster the
    master of its slot, any of its masters without a queue. Sentinel and one server have all shards in one place.

    Raises:
        InvalidSetting: the URL cannot be read.
    """
    kinds = (RoutedConnection, RoutedSSLConnection, BoundedUnixConnection)
    key = None if queue is None else key_prefix(queue, shard, shards)
    pool: redis.ConnectionPool = _open(redis, Retry(NoBackoff(), 0), kinds, url, timeout, key)
    return pool


def open_async_pool(
    url: str, timeout: float, queue: str | None = None, shard: int = 0, shards: int = 1
) -> redis.asyncio.ConnectionPool:
    """The same for asyncio."""
    kinds = (AsyncRoutedConnection, AsyncRoutedSSLConnection, redis.asyncio.UnixDomainSocketConnection)
    key = None if queue is None else key_prefix(queue, shard, shards)
    pool: redis.asyncio.ConnectionPool = _open(redis.asyncio, AsyncRetry(NoBackoff(), 0), kinds, url, timeout, key)
    return pool


def open_client(url: str, timeout: float, queue: str | None = None, shard: int = 0, shards: int = 1) -> redis.Redis:
    """A client on such a pool, answers as bytes. Safe to share between threads.

    A way that carries nothing is given up after DEAD_LINK_SECONDS. A server that is alive, and only slow to answer, has
    the whole time limit: its kernel takes what is sent.
    """
    pool = open_pool(url, timeout, queue, shard, shards)
    options = pool.connection_kwargs
    if "route" in options:
        options["socket_keepalive_options"] = {_USER_TIMEOUT: int(DEAD_LINK_SECONDS * 1000)} if _USER_TIMEOUT else {}
        if not options["route"].is_found:  # else the time is for a search among several nodes
            options["socket_connect_timeout"] = min(timeout, DEAD_LINK_SECONDS)
    return redis.Redis(connection_pool=pool)


def closed_by_peer(connection: redis.Connection) -> bool:
    """Whether Redis has hung up while nobody was looking; what is sent then is lost for certain.

    redis-py's ``can_read`` tells the same with three system calls and an exception; this is half a microsecond.
    """
    get_socket: Callable[[], Any] = connection._get_socket
    poller = select.poll()
    poller.register(get_socket(), _HANGUP)
    return bool(poller.poll(0))


def translate(error: redis.RedisError, url: str, *, maybe_accepted: bool) -> PenstockError:
    """Our error for one of redis-py's, naming the server without its password."""
    text = str(error)
    where = show_url(url)
    if text.startswith("LAYOUT "):
        layout = text.split()[1]
        if layout.isdecimal() and int(layout) < LAYOUT_VERSION:
            advice = "an older version's: let that version empty the queue, and name another PENSTOCK_QUEUE here"
        else:
            advice = "which this version of Penstock does not know: upgrade it"
        return QueueMismatch(f"the queue at {where} has layout {layout}, {advice}")
    if text.startswith("LOOK "):
        return LookAgain()
    if text.startswith("SHARDS "):
        return QueueUnavailable(
            "the queue's number of shards was or is being changed: look with `penstock queue stats`, and do it again",
            maybe_accepted=False,
        )
    if isinstance(error, _EXCEPTIONS.AuthenticationError) or text.startswith(_NO_LOGIN):
        return QueueUnavailable(
            f"Redis at {where} refused the login: check user and password in PENSTOCK_REDIS_URL",
            maybe_accepted=maybe_accepted,
        )
    if isinstance(error, _EXCEPTIONS.OutOfMemoryError) or text.startswith("OOM"):
        return QueueUnavailable(
            f"Redis at {where} has reached its maxmemory: raise it, or lower the queue's limit of bytes",
            maybe_accepted=maybe_accepted,
        )
    if isinstance(error, _EXCEPTIONS.MovedError):
        return QueueUnavailable(
            f"Redis at {where} is a node of a cluster: write PENSTOCK_REDIS_URL as {EXAMPLES['cluster']}",
            maybe_accepted=maybe_accepted,
        )
    distrust = _DISTRUST.search(text)
    if distrust:
        return QueueUnavailable(
            f"the certificate of Redis at {where} is not trusted: {distrust[1].rstrip('.')}. "
            "PENSTOCK_REDIS_URL has to name a host that the certificate holds, and with ?ssl_ca_certs=FILE the "
            "authority that signed it",
            maybe_accepted=maybe_accepted,
        )
    if isinstance(error, NoSyncError):
        what = f"PENSTOCK_DURABILITY=fsync cannot be had of Redis at {where}: {text}, or set memory or replicas:N"
        return QueueUnavailable(what, maybe_accepted=True) if maybe_accepted else InvalidSetting(what)
    if isinstance(error, NoMasterError):
        return QueueUnavailable(f"Redis at {where} has no master just now: {text}", maybe_accepted=maybe_accepted)
    if fate_of(error) is Fate.BROKEN:
        return QueueUnavailable(
            f"Redis at {where} is not available: {text.rstrip('.')}. Check that it runs and that PENSTOCK_REDIS_URL "
            "names it",
            maybe_accepted=maybe_accepted,
        )
    return QueueUnavailable(f"Redis at {where} answered with an error: {text}", maybe_accepted=maybe_accepted)
