"""Compression of bodies: zstd where it pays."""

from __future__ import annotations

import threading
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Encoded:
    """A body as it is sent, and its Content-Encoding if it has one."""

    body: bytes
    encoding: str | None


def encode(body: memoryview, content_type: str | None, compression: str | None) -> Encoded:
    """Compresses a body unless it is small, compressed already, asked not to be, or does not shrink."""
    if compression == "none" or len(body) < MIN_BYTES or not _compressible(content_type):
        return Encoded(bytes(body), None)
    compressor = getattr(_local, "compressor", None)
    if compressor is None:
        # One a thread: a compressor must not be used by two at once, and making one costs more than a small body.
        compressor = _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
    packed: bytes = compressor.compress(body)
    if len(packed) >= len(body):
        return Encoded(bytes(body), None)
    return Encoded(packed, "zstd")


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


def _compressible(content_type: str | None) -> bool:
    if content_type is None:
        return True
    lowered = content_type.lower()
    return lowered.startswith(_PLAIN_TYPES) or not lowered.startswith(_COMPRESSED_TYPES)
