"""An S3 in memory, over HTTP, in the test's own process: quick enough for 10,000 writes, and a test can step in.

`StubS3` answers from a script whatever it is asked; this one keeps objects, checks the checksum that S3 would check,
and lets a test decide by key what goes wrong. `fault_s3` puts faults with rates and a history on top of it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

import zstandard

START_LIMIT = 30.0
"""Seconds, for hangs only."""
CUT_AT = 10
"""Bytes of a cut answer: in its status, since Python's HTTP client takes headers that end early for whole ones."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has arrived. ``keys`` are those of a bulk delete; header names are in lower case."""

    method: str
    bucket: str
    key: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    keys: tuple[str, ...] = ()
    query: str = ""
    part: bool = False  # one key of a bulk delete, as a DELETE of it
    at: float = field(default_factory=time.monotonic)

    @property
    def seq(self) -> int:
        return int(self.headers["x-amz-meta-penstock-seq"])


class Gate:
    """Holds requests before they are applied, from when they have arrived to `open`; they outlive their client.

    Made by `MemoryS3.gate`; safe to use from any thread. A gate that is open stays so.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._opened = asyncio.Event()
        self.held: list[Request] = []
        """All that ever came to it."""

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._opened.set)

    async def passed(self, request: Request) -> None:
        self.held.append(request)
        await self._opened.wait()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong with a request. Status 0: the connection is reset instead of an answer."""

    status: int = 0
    code: str = ""
    applied: bool = False  # the object is stored all the same
    early: float = 0.0  # seconds until it is applied
    gate: Gate | None = None  # it is applied once this is open
    stall: bool = False  # the answer waits for `MemoryS3.release`
    delay: float = 0.0  # seconds until the answer
    cut: bool = False  # the answer ends in its first line, and so does the connection


def error(status: int, code: str) -> Trouble:
    return Trouble(status, code)


STALL = Trouble(status=200, applied=True, stall=True)
RESET = Trouble()


def slow(seconds: float) -> Trouble:
    return Trouble(status=200, applied=True, delay=seconds)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it lies there."""

    raw: bytes = field(repr=False)
    headers: Mapping[str, str]

    @property
    def seq(self) -> int:
        return int(self.headers["x-amz-meta-penstock-seq"])

    @property
    def sha256(self) -> str:
        return self.headers["x-amz-meta-penstock-sha256"]

    @property
    def encoding(self) -> str | None:
        return self.headers.get("content-encoding")

    @property
    def body(self) -> bytes:
        """As a reader gets it: decoded."""
        return self.raw if self.encoding is None else zstandard.ZstdDecompressor().decompress(self.raw)


Judge = Callable[[Request], Trouble | None]
"""Says what goes wrong with a request, or None; for a bulk delete it is asked for each key, as a DELETE of it."""


def _fine(_: Request) -> None:
    """Nothing goes wrong."""


class MemoryS3:
    """Any bucket exists. Read ``requests`` and ``objects`` from any thread; ``judge`` may be set at any time.

    Args:
        admit: asked like ``judge`` when a request would be applied, which may be long after it arrived.
        landed: told of each PUT and DELETE that was applied; of a bulk delete, of each key.
        record: whether ``requests`` keeps them all, bodies included.
    """

    def __init__(
        self, port: int = 0, *, admit: Judge = _fine, landed: Callable[[Request], None] = _fine, record: bool = True
    ) -> None:
        self.objects: dict[tuple[str, str], Stored] = {}
        self.requests: list[Request] = []
        self.judge: Judge = _fine
        self.most_at_once = 0
        """The most requests that were under way at a time."""
        self._at_once = 0
        self._admit = admit
        self._landed = landed
        self._record = record
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="memory-s3", daemon=True)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", port), self._loop)
        self._server = started.result(START_LIMIT)
        self.endpoint_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def gate(self) -> Gate:
        return Gate(self._loop)

    def release(self) -> None:
        """Lets every stalled answer go out."""
        self._loop.call_soon_threadsafe(self._released.set)

    def puts(self, key: str | None = None) -> list[Request]:
        """The PUTs that arrived, in their order."""
        return [one for one in list(self.requests) if one.method == "PUT" and key in (None, one.key)]

    def deletes(self) -> list[Request]:
        return [one for one in list(self.requests) if one.method == "POST"]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(START_LIMIT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_LIMIT)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _shut(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, which is what some tests are about; or `close`
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read(reader, writer)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request, writer)
        finally:
            self._at_once -= 1

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        if self._record:
            self.requests.append(request)
        trouble = self.judge(request) or _NO_TROUBLE
        if trouble.early:
            await asyncio.sleep(trouble.early)
        if trouble.gate is not None:
            await trouble.gate.passed(request)
        status, extra, answer = 200, dict[str, str](), b""
        if trouble.applied:
            status, extra, answer = self._apply(request)
        if trouble.status >= 300:
            status, extra, answer = trouble.status, {}, _error(trouble.code)
        if trouble.delay:
            await asyncio.sleep(trouble.delay)
        if trouble.stall:
            await self._released.wait()
        if trouble.status == 0:
            writer.transport.abort()
            return False
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in extra.items())]
        # An answer to HEAD says how long the body would be, and has none.
        length = [] if request.method == "HEAD" and status == 200 else [f"Content-Length: {len(answer)}"]
        head = "\r\n".join([*lines, *length, "", ""]).encode("latin-1")
        writer.write(head[:CUT_AT] if trouble.cut else head if request.method == "HEAD" else head + answer)
        await writer.drain()
        return not trouble.cut

    def _apply(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        place = (request.bucket, request.key)
        refusal = self._admit(request)
        if refusal is not None:
            return refusal.status, {}, _error(refusal.code)
        if request.method == "PUT":
            said = request.headers.get("x-amz-checksum-sha256")
            if said != base64.b64encode(hashlib.sha256(request.body).digest()).decode():
                return 400, {}, _error("BadDigest")
            self.objects[place] = Stored(request.body, request.headers)
            self._landed(request)
            return 200, {"ETag": '"0123456789abcdef0123456789abcdef"'}, b""
        if request.method == "POST":
            return 200, {"Content-Type": "application/xml"}, self._delete_many(request)
        if request.method == "DELETE":
            self.objects.pop(place, None)
            self._landed(request)
            return 204, {}, b""
        found = self.objects.get(place)
        if found is None:
            return 404, {}, _error("NoSuchKey")
        kept = ("content-type", "content-encoding")
        extra = {name: value for name, value in found.headers.items() if name in kept or name.startswith("x-amz-meta-")}
        return 200, {**extra, "ETag": '"0123"', **_length_of_head(request, found)}, found.raw

    def _delete_many(self, request: Request) -> bytes:
        deleted, failures = [], []
        for key in request.keys:
            part = Request("DELETE", request.bucket, key, request.headers, b"", part=True)
            trouble = self.judge(part)
            if trouble is None or trouble.applied:
                self.objects.pop((request.bucket, key), None)
                self._landed(part)
                deleted.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
            else:
                failures.append(f"<Error><Key>{escape(key)}</Key><Code>{trouble.code}</Code></Error>")
        named = failures if b"<Quiet>true</Quiet>" in request.body else [*deleted, *failures]
        return f"<DeleteResult>{''.join(named)}</DeleteResult>".encode()


_NO_TROUBLE = Trouble(status=200, applied=True)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = start.split()
    bucket, _, key = unquote(urlsplit(target).path).removeprefix("/").partition("/")
    keys = _keys(body) if method == "POST" else ()
    return Request(method, bucket, key, headers, body, keys, urlsplit(target).query)


def _length_of_head(request: Request, found: Stored) -> dict[str, str]:
    return {"Content-Length": str(len(found.raw))} if request.method == "HEAD" else {}


def _keys(body: bytes) -> tuple[str, ...]:
    return tuple(one.text or "" for one in ElementTree.fromstring(body).iter() if one.tag.endswith("Key"))  # noqa: S314


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>said by the test</Message></Error>".encode()
