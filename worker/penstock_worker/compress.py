"""Compression of bodies: zstd where it pays."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from queue import SimpleQueue
from typing import NamedTuple

import zstandard

LEVEL = 3
MIN_BYTES = 256
"""Below this the frame's own bytes eat what is saved."""

# Content types whose bytes are compressed already.
_COMPRESSED_TYPES = (
    "image/", "video/", "audio/", "font/woff", "application/zip", "application/gzip", "application/x-gzip",
    "application/zstd", "application/x-xz", "application/x-bzip2", "application/x-7z-compressed", "application/vnd.rar",
    "application/pdf", "application/vnd.openxmlformats", "application/vnd.apache.parquet", "application/epub+zip",
)  # fmt: skip
_PLAIN_TYPES = ("image/svg", "image/bmp", "image/x-ms-bmp", "audio/wav", "audio/x-wav")

_local = threading.local()

LONG_BODY = 8 * 1024**2
"""A larger one takes longer than others should wait for."""


def _new_compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)


# As many as there are CPUs: more threads that compress at once only push each other's tables out of the caches.
_CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_shared: SimpleQueue[zstandard.ZstdCompressor] = SimpleQueue()
for _ in range(_CPUS):
    _shared.put(_new_compressor())


class Encoded(NamedTuple):
    """A body as it is sent, and its Content-Encoding if it has one."""

    body: bytes
    encoding: str | None


def encode(body: memoryview, content_type: str | None, compression: str | None, *, urgent: bool = False) -> Encoded:
    """Compresses a body unless it is small, compressed already, asked not to be, or does not shrink.

    Waits while a body is compressed on every CPU, unless it is ``urgent``.
    """
    if not _is_worth_it(body, content_type, compression):
        return Encoded(bytes(body), None)
    packed: bytes
    if urgent or len(body) > LONG_BODY:
        packed = _own_compressor().compress(body)
    else:
        compressor = _shared.get()
        try:
            packed = compressor.compress(body)
        finally:
            _shared.put(compressor)
    return Encoded(packed, "zstd") if len(packed) < len(body) else Encoded(bytes(body), None)


def encode_many(bodies: Sequence[tuple[memoryview, str | None, str | None]]) -> list[Encoded]:
    """The same for many small bodies, each with its content type and what was asked for.

    zstd runs once for all: each time that it does, other threads may take the interpreter and keep it for long.
    """
    worth: list[bytes | bytearray | memoryview] = []
    for body, content_type, compression in bodies:
        if _is_worth_it(body, content_type, compression):
            worth.append(body)
    packed = iter(_own_compressor().multi_compress_to_buffer(worth, threads=1) if worth else ())
    found = []
    for body, content_type, compression in bodies:
        small = next(packed) if _is_worth_it(body, content_type, compression) else body
        if len(small) < len(body):
            found.append(Encoded(small.tobytes(), "zstd"))
        else:
            found.append(Encoded(bytes(body), None))
    return found


def _is_worth_it(body: memoryview, content_type: str | None, compression: str | None) -> bool:
    return compression != "none" and len(body) >= MIN_BYTES and _compressible(content_type)


def _own_compressor() -> zstandard.ZstdCompressor:
    """One a thread: it must not be used by two at once, and making one costs more than a small body."""
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:
        compressor = _local.compressor = _new_compressor()
    return compressor


def decode(body: bytes, encoding: str | None) -> bytes:
    """The body as it was given to ``put``.

    Raises:
        ValueError: an encoding that Penstock does not write, or a damaged body.
    """
    if encoding in (None, "", "identity"):
        return body
    if encoding != "zstd":
        raise ValueError(f"content encoding {encoding!r} is not one of Penstock's")
    try:
        return zstandard.ZstdDecompressor().decompress(body)
    except zstandard.ZstdError as error:
        raise ValueError(f"the stored body is damaged: {error}") from None


@lru_cache(maxsize=256)  # writers use few types; the limit holds when one does not
def _compressible(content_type: str | None) -> bool:
    if content_type is None:
        return True
    lowered = content_type.lower()
    return lowered.startswith(_PLAIN_TYPES) or not lowered.startswith(_COMPRESSED_TYPES)
