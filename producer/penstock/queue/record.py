"""How a write lies in Redis: the frame that the scripts read, the header, and the body.

``tail`` (made by the producer): tenant length(1) tenant, for a large body its id's length(1) id and its size(4), then
SHA-256 of the body as given(32), header length(2) header (msgpack), inline body. The enqueue script puts version(1),
sequence number(8), since(7), priority(1) and flags(1) before it; ``scripts/include/record.lua`` is the other reader.
"""

from __future__ import annotations

from struct import Struct

import msgspec

WIRE_VERSION = 1
LARGE_BODY = 64 * 1024
"""Bytes from which a body has a key of its own: no script shall copy megabytes, which blocks Redis for everybody."""

FLAG_DELETE = 1
FLAG_BLOB = 2

_HEAD = Struct(">BQ7sBB")
_BLOB_SIZE = Struct(">I")
_LENGTH = Struct(">H")
_SHA256_BYTES = 32

FRAME_BYTES = 1 + _SHA256_BYTES + _LENGTH.size
"""What a tail has beside tenant, header and body."""
BLOB_FRAME_BYTES = 1 + _BLOB_SIZE.size
"""And beside a large body's id."""


class Header(msgspec.Struct, omit_defaults=True, frozen=True):
    """What goes along with a body. Fields may be added within a wire version: a reader skips those it does not know."""

    content_type: str | None = msgspec.field(default=None, name="t")
    cache_control: str | None = msgspec.field(default=None, name="c")
    content_disposition: str | None = msgspec.field(default=None, name="d")
    storage_class: str | None = msgspec.field(default=None, name="s")
    compression: str | None = msgspec.field(default=None, name="z")
    tags: dict[str, str] = msgspec.field(default_factory=dict, name="g")
    metadata: dict[str, str] = msgspec.field(default_factory=dict, name="m")
    traceparent: str | None = msgspec.field(default=None, name="p")


encode_header = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(Header).decode


def add_traceparent(header: bytes, traceparent: str) -> bytes:
    """A packed header that has none, with one: put behind its other fields, without packing those again.

    In msgpack a map of up to 15 entries begins with 0x80 plus their number; 0xa1 and 0xd9 begin strings.
    """
    value = traceparent.encode()
    return b"%c%b\xa1p\xd9%c%b" % (header[0] + 1, header[1:], len(value), value)


class Record(msgspec.Struct, frozen=True):
    """A write as it was read back from the queue. ``body`` is None when it lies under ``blob_id``."""

    seq: int
    since: int
    priority: int
    is_delete: bool
    tenant: str
    sha256: bytes
    header: Header
    body: memoryview | None
    body_size: int
    blob_id: str | None


def encode_tail(tenant: bytes, sha256: bytes, header: bytes, body: bytes, blob_id: bytes | None) -> bytes:
    """The producer's part of a record. With a ``blob_id`` the body itself is sent apart."""
    if blob_id is None:
        frame = (bytes((len(tenant),)), tenant, sha256, _LENGTH.pack(len(header)), header, body)
    else:
        blob = bytes((len(blob_id),)) + blob_id + _BLOB_SIZE.pack(len(body))
        frame = (bytes((len(tenant),)), tenant, blob, sha256, _LENGTH.pack(len(header)), header)
    return b"".join(frame)


def decode(data: bytes) -> Record:
    """A record of this wire version.

    Raises:
        ValueError: another version, or bytes that are no record (msgspec's errors are ValueErrors too).
    """
    version, seq, since, priority, flags = _HEAD.unpack_from(data)
    if version != WIRE_VERSION:
        raise ValueError(f"a write of wire version {version}, this worker reads {WIRE_VERSION}")
    at = _HEAD.size
    tenant = data[at + 1 : at + 1 + data[at]].decode()
    at += 1 + data[at]
    blob_id = None
    size = 0
    if flags & FLAG_BLOB:
        blob_id = data[at + 1 : at + 1 + data[at]].decode()
        at += 1 + data[at]
        (size,) = _BLOB_SIZE.unpack_from(data, at)
        at += _BLOB_SIZE.size
    sha256 = data[at : at + _SHA256_BYTES]
    at += _SHA256_BYTES
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    header = _decode_header(data[at : at + length])
    at += length
    return Record(
        seq=seq,
        since=int.from_bytes(since),
        priority=priority,
        is_delete=bool(flags & FLAG_DELETE),
        tenant=tenant,
        sha256=sha256,
        header=header,
        body=None if blob_id else memoryview(data)[at:],
        body_size=size if blob_id else len(data) - at,
        blob_id=blob_id,
    )
