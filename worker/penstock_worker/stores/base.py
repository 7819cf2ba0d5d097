"""The seam between the worker and S3: what an engine offers, what it is given, and how it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

Engine = Literal["obstore", "boto3"]
Addressing = Literal["auto", "path", "virtual"]
Check = Callable[[], None]

CONNECT_SECONDS = 2.0
"""Time limit for a connection to be made; S3's answers in milliseconds (field notes, section 3)."""
LOOK_UP_SECONDS = 30.0
"""How long callers wait for the chain of credentials: roles and processes take seconds, but a process that hangs would
keep all upload threads for ever. From then on they are told at once, until the look-up ends."""
SEQ = "penstock-seq"
"""The metadata in which an object has the number of its write."""
MESSAGE_LIMIT = 500
"""Characters of a fault's message. It lands in dead letters and logs, and S3's can run to kilobytes."""


class ErrorClass(StrEnum):
    """What a fault means for a write: section 5 of the design says what each does."""

    THROTTLE = "throttle"
    TRANSIENT = "transient"  # surely not applied
    UNKNOWN = "unknown"  # may have been applied, now or a little later
    ENVIRONMENT = "environment"  # the destination or the credentials, not the write
    PERMANENT = "permanent"  # the write itself


class StoreFault(Exception):
    """A request to S3 that did not succeed. Made by `stores.faults` only, so that one table decides.

    ``http_status`` is None when no answer came. ``message`` holds neither a secret nor a body, is at most
    `MESSAGE_LIMIT` characters long and one line.
    """

    def __init__(self, error_class: ErrorClass, code: str, http_status: int | None, message: str) -> None:
        super().__init__(error_class, code, http_status, message)
        self.error_class = error_class
        self.code = code
        self.http_status = http_status
        self.message = message

    def __str__(self) -> str:
        status = "no answer" if self.http_status is None else f"HTTP {self.http_status}"
        return f"{self.code} ({status}, {self.error_class}): {self.message}"


class PutRequest(msgspec.Struct, frozen=True, gc=False):
    """One object as it is to be stored; ``body`` is sent as it is, compressed by the caller or not.

    Header values and metadata must be printable ASCII, metadata names header tokens: anything else is refused
    as permanent before it is sent. S3's own limits (2 KB of metadata, 10 tags, ...) are left to S3.
    """

    bucket: str
    key: str
    body: bytes
    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    storage_class: str | None = None
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as it is stored; metadata names in lower case, ``size`` and content as encoded."""

    size: int
    etag: str
    metadata: Mapping[str, str]
    content_encoding: str | None
    content_type: str | None

    @property
    def seq(self) -> int | None:
        """The number of the write that it is of; None for somebody else's object."""
        number = self.metadata.get(SEQ, "")
        return int(number) if number.isascii() and number.isdecimal() else None


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the objects go and how patient an engine is. None leaves a thing to boto3's own resolution."""

    endpoint_url: str | None = None
    region: str | None = None
    addressing: Addressing = "auto"
    sse: str | None = None
    kms_key_id: str | None = None
    expected_owner: str | None = None
    request_timeout: float = 5.0  # seconds, on top of what the size allows
    min_bytes_per_second: int = 1024 * 1024
    concurrency: int = 12  # threads that use the store at once; the size of the connection pools


class Store(Protocol):
    """One S3 endpoint. Safe to share between threads; made after a fork, never before.

    Each call sends one request at most, unless it says otherwise: retrying is the queue's. ``check`` is
    called right before a request is sent (rules LEASE and PIN) and raises when the lease is over: its
    exception comes out unchanged, and nothing was sent. A request ends within ``request_timeout`` plus the
    time that its bytes take at ``min_bytes_per_second``, rounded up by size (`stores.limits`).

    Raises `StoreFault`, and what ``check`` raises.
    """

    def put(self, request: PutRequest, check: Check) -> None: ...

    def delete_many(self, bucket: str, keys: Sequence[str], check: Check) -> dict[str, StoreFault]:
        """Delete up to 1,000 keys of a bucket; a missing object is a success.

        Returns the failures by key; one that S3's answer does not name is among them, as UNKNOWN. A fault of the
        whole request is raised, unless it is permanent: then the keys go out again one by one, since one bad key
        must not take its neighbours along. Keys that XML cannot carry, or that a store may name otherwise in its
        answer, always go alone. Raises ValueError for more keys.

        ``check`` is called before each request; when it raises, what was deleted already is not told.
        """

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """None on 404. S3 does not tell a missing bucket from a missing key here, as a HEAD has no body."""

    def get(self, bucket: str, key: str) -> tuple[ObjectInfo, bytes] | None:
        """The stored bytes, not decoded; None for a missing key. ``request_timeout`` limits each wait."""

    def close(self) -> None:
        """Drop the connections. Nothing may be called afterwards."""
