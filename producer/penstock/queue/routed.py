"""Connections that find their server when they connect, and leave one that says another is the master.

redis-py's own client for clusters looks at the keys of every command. All that one shard has lies on one node, so it is
enough that a pool's connections lead there; and it is the same for one server, for Sentinel and for a cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis import exceptions

from penstock.queue.address import Node
from penstock.queue.bounded import LEAST_SECONDS, BoundedConnection, BoundedSSLConnection
from penstock.queue.durability import ON_REPLICA
from penstock.queue.route import Route

_ASTRAY = (exceptions.ReadOnlyError, exceptions.AskError, exceptions.ClusterDownError)  # MovedError is an AskError

_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError)


class _Search:
    """One search for the master, node by node, within its seconds."""

    def __init__(self, route: Route, seconds: float) -> None:
        self._route = route
        self._deadline = time.monotonic() + seconds
        self._failure: exceptions.RedisError | None = None
        self.nodes = route.nodes(seconds)

    @property
    def left(self) -> float:
        """Seconds, never none: what begins late fails by its own time limit, as redis-py's errors say it."""
        return max(LEAST_SECONDS, self._deadline - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def failed(self, node: Node, error: exceptions.RedisError) -> None:
        self._route.failed(node)
        is_silent = isinstance(error, _AWAY)
        if self._failure is None or not is_silent or isinstance(error, exceptions.AuthenticationError):
            self._failure = error  # what one says tells more than that another is not there

    def error(self) -> exceptions.RedisError:
        return self._failure or exceptions.TimeoutError("Timeout looking for the master")


class _Routed:
    """What threads' and asyncio's connections share; mixed into redis-py's."""

    _asking: Any
    """The kind of connection that asks a node where the master is."""

    def __init__(self, *, route: Route, **options: Any) -> None:
        self._route = route
        self._way: object = None
        self._told_by: Node | None = None
        self._ask_options = {**options, **route.login, "db": 0}
        super().__init__(**options)

    @contextmanager
    def _searching(self) -> Iterator[_Search]:
        """The time limit of connecting holds for the search and the connection together."""
        me: Any = self
        limit = me.socket_connect_timeout
        try:
            yield _Search(self._route, limit)
        finally:
            me.socket_connect_timeout = limit

    def _was_misled(self) -> None:
        """Whoever told of this master is asked last from now on: it may be cut off from the others, and not learn."""
        if self._told_by is not None:
            self._route.failed(self._told_by)
            self._told_by = None

    def _lead_to(self, place: Node, search: _Search) -> None:
        me: Any = self
        me.host, me.port = place
        me.socket_connect_timeout = search.left

    def _asker(self, node: Node, seconds: float) -> Any:
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        return self._asking(**{**self._ask_options, **limits, "host": node[0], "port": node[1]})

    def _judge(self, error: exceptions.ResponseError) -> exceptions.ResponseError:
        """The error to raise for one of the server's."""
        if ON_REPLICA in str(error):
            error = exceptions.ReadOnlyError(str(error))
        if isinstance(error, _ASTRAY):
            self._route.look_again()
            self._was_misled()
            if isinstance(error, exceptions.AskError) and self._route.is_found:
                # Nothing ran here; a new connection finds the node where it will.
                kind = "MOVED" if isinstance(error, exceptions.MovedError) else "ASK"  # which redis-py cuts off
                return exceptions.TryAgainError(f"{kind} {error}")
        return error


class _SyncRouted(_Routed):
    def connect(self) -> None:
        base: Any = super()
        if self._way is not self._route.way:
            base.disconnect()  # a pool's idle connections lead where one of them was sent away from
        if base.is_connected:
            return
        self._way = self._route.way
        if not self._route.is_found:
            base.connect()
            return
        with self._searching() as search:
            self._lead_to(self._find(search), search)
            try:
                base.connect()
            except _AWAY:
                self._was_misled()
                raise

    def _find(self, search: _Search) -> Node:
        for node, seconds in search.nodes:
            if search.is_over:
                break
            limit = min(seconds, search.left)
            asker = self._asker(node, limit)
            asker.deadline = time.monotonic() + limit
            try:
                asker.connect()
                asker.send_command(*self._route.question)
                found = self._route.read(node, asker.read_response(disable_decoding=True))
                self._told_by = node
                return found
            except exceptions.RedisError as error:
                search.failed(node, error)
            finally:
                asker.disconnect()
        raise search.error()

    def read_response(self, *args: Any, **options: Any) -> Any:
        base: Any = super()
        try:
            return base.read_response(*args, **options)
        except exceptions.ResponseError as error:
            told = self._judge(error)
            if told is error:
                raise
            raise told from None


class _AsyncRouted(_Routed):
    async def connect(self) -> None:
        base: Any = super()
        if base.is_connected or not self._route.is_found:
            await base.connect()
            return
        with self._searching() as search:
            self._lead_to(await self._find(search), search)
            try:
                await base.connect()
            except _AWAY:
                self._was_misled()
                raise

    async def _find(self, search: _Search) -> Node:
        for node, seconds in search.nodes:
            if search.is_over:
                break
            asker = self._asker(node, min(seconds, search.left))
            try:
                async with asyncio.timeout(min(seconds, search.left)):
                    await asker.connect()
                    await asker.send_command(*self._route.question)
                    found = self._route.read(node, await asker.read_response(disable_decoding=True))
                    self._told_by = node
                    return found
            except TimeoutError:
                search.failed(node, exceptions.TimeoutError("Timeout looking for the master"))
            except exceptions.RedisError as error:
                search.failed(node, error)
            finally:
                await asker.disconnect(nowait=True)
        raise search.error()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        base: Any = super()
        try:
            return await base.read_response(*args, **options)
        except exceptions.ResponseError as error:
            told = self._judge(error)
            if told is error:
                raise
            raise told from None


class RoutedConnection(_SyncRouted, BoundedConnection):
    """Plain TCP."""

    _asking = BoundedConnection


class RoutedSSLConnection(_SyncRouted, BoundedSSLConnection):
    """TLS, also where one asks for the way."""

    _asking = BoundedSSLConnection


class AsyncRoutedConnection(_AsyncRouted, redis.asyncio.Connection):
    """Plain TCP."""

    _asking = redis.asyncio.Connection


class AsyncRoutedSSLConnection(_AsyncRouted, redis.asyncio.SSLConnection):
    """TLS, also where one asks for the way."""

    _asking = redis.asyncio.SSLConnection
