"""Checks a write before Redis is touched, and packs it for the queue."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote_plus

from penstock.errors import InvalidWrite
from penstock.packing import Checked
from penstock.queue.enqueue import Prepared
from penstock.queue.names import PRIORITIES
from penstock.queue.record import (
    FLAG_DELETE,
    LARGE_BODY,
    Header,
    add_traceparent,
    encode_header,
    encode_tail,
)
from penstock.trace import traceparent_of

# Limits of S3: API reference "PutObject", user guide "Object tagging", "Creating object key names", "Working with
# object metadata", "Bucket naming rules".
MAX_KEY_BYTES = 1024
MAX_TAGS = 10
MAX_TAG_KEY = 128
MAX_TAG_VALUE = 256
OWN_METADATA_BYTES = len("penstock-seq") + 16 + len("penstock-sha256") + 64
MAX_METADATA_BYTES = 2048 - OWN_METADATA_BYTES
MAX_HEADER = 1024
MAX_ALL_HEADERS = 6 * 1024
"""S3 takes 8 KiB of request headers; a signature, a session token and the checksums need up to 2 KiB of it."""
MAX_TENANT_BYTES = 64

HEADERS = ("content_type", "cache_control", "content_disposition", "storage_class")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_TAG_TEXT = re.compile(r"[\w \+\-=._:/@]*")
_META_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_NO_SHA = bytes(32)
_NO_HEADER = encode_header(Header())
_PRIORITY_NUMBERS = {name: number for number, name in enumerate(PRIORITIES)}


def check_fields(
    key: object,
    given: object,
    headers: tuple[object, ...],
    tags: object,
    metadata: object,
    tenant: object,
    compression: str,
    traceparent: object,
    bucket: str,
    priority: str,
    max_body_bytes: int,
    new_blob_id: Callable[[], bytes],
) -> Checked:
    """Validates a put, and does not pack it yet. ``headers``: as `HEADERS`. ``new_blob_id``: names a large body.

    Raises:
        InvalidWrite: says what is wrong and what to do.
    """
    body = _body(given, max_body_bytes)
    name = _name(bucket, key)
    try:
        header = _header(
            headers,
            compression,
            _items(tags, "tags") if tags is not None else (),
            _items(metadata, "metadata") if metadata is not None else (),
        )
    except TypeError:  # something that cannot be hashed, and so is no str
        raise InvalidWrite(f"{', '.join(HEADERS)} and compression must be str") from None
    # Behind the cache of headers: each write has a trace of its own.
    header = _traced(header, traceparent)
    blob_id = None if len(body) < LARGE_BODY else new_blob_id()
    return name, _priority(priority), _tenant(tenant), header, body, blob_id


def prepare_delete(key: str, bucket: str, priority: str, tenant: str, traceparent: str | None = None) -> Prepared:
    """Validates and packs a delete. Raises InvalidWrite."""
    head = bytes((_priority(priority), FLAG_DELETE))
    tail = encode_tail(_tenant(tenant), _NO_SHA, _traced(_NO_HEADER, traceparent), b"", None)
    return Prepared(_name(bucket, key), head, tail, None, b"")


def check_bucket(bucket: object) -> str:
    """The name, if it is one that S3 allows. Raises InvalidWrite."""
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket) or ".." in bucket or _IP_ADDRESS.fullmatch(bucket):
        raise InvalidWrite(
            f"{bucket!r} is no bucket name: 3 to 63 lower-case letters, digits, dots and hyphens, not an IP address"
        )
    return bucket


# The callers' types are checked at run time, so the helpers take any object. What one application gives again and
# again is checked once: buckets, tenants, and the combinations of headers, tags and metadata.


def _body(body: object, limit: int) -> bytes:
    if isinstance(body, bytes):
        size = len(body)
    elif isinstance(body, str):
        raise InvalidWrite("the body is a str: encode it first, for example body.encode('utf-8')")
    else:
        try:
            body = memoryview(cast("Any", body))
        except (TypeError, ValueError):  # ValueError: a memoryview that was released
            raise InvalidWrite(f"the body must be bytes-like, not {type(body).__name__}") from None
        size = body.nbytes
    if size > limit:
        raise InvalidWrite(
            f"the body has {size:,} bytes, PENSTOCK_MAX_BODY_BYTES (max_body_bytes) allows {limit:,}: "
            "raise it, or upload such bodies to S3 directly"
        )
    # Others may change a bytearray while it is hashed and sent, so it is copied.
    return body if isinstance(body, bytes) else body.tobytes()


def _name(bucket: object, key: object) -> bytes:
    if not isinstance(key, str):
        raise InvalidWrite(f"the key must be a str, not {type(key).__name__}")
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise InvalidWrite("the key is not valid Unicode: S3 stores keys as UTF-8") from None
    if not 1 <= len(encoded) <= MAX_KEY_BYTES:
        raise InvalidWrite(f"the key has {len(encoded):,} bytes of UTF-8, S3 takes 1 to {MAX_KEY_BYTES:,}")
    if _CONTROL.search(key):
        raise InvalidWrite(f"the key {key[:64]!r} holds a control character: S3 clients cannot address such keys")
    return (_bucket_prefix(bucket) if isinstance(bucket, str) else check_bucket(bucket).encode()) + encoded


@lru_cache(maxsize=1024)
def _bucket_prefix(bucket: str) -> bytes:
    return check_bucket(bucket).encode() + b"/"


def _tenant(tenant: object) -> bytes:
    if not isinstance(tenant, str):
        raise InvalidWrite(f"the tenant must be a str, not {type(tenant).__name__}")
    return _checked_tenant(tenant) if tenant else b""


@lru_cache(maxsize=1024)
def _checked_tenant(tenant: str) -> bytes:
    try:
        encoded = tenant.encode()
    except UnicodeEncodeError:
        raise InvalidWrite("the tenant is not valid Unicode") from None
    if len(encoded) > MAX_TENANT_BYTES or _CONTROL.search(tenant):
        raise InvalidWrite(f"the tenant must have at most {MAX_TENANT_BYTES} bytes of UTF-8 and no control characters")
    return encoded


def _priority(priority: object) -> int:
    number = _PRIORITY_NUMBERS.get(priority) if isinstance(priority, str) else None
    if number is None:
        raise InvalidWrite(f"no priority {priority!r}: one of {', '.join(PRIORITIES)}")
    return number


def _traced(header: bytes, given: object) -> bytes:
    traceparent = traceparent_of(given)
    return header if traceparent is None else add_traceparent(header, traceparent)


def _items(pairs: object, what: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(pairs, Mapping):
        raise InvalidWrite(f"{what} must map str to str, and be no {type(pairs).__name__}")
    items = tuple(pairs.items())
    for name, value in items:
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidWrite(f"{what} must map str to str: {name!r} does not")
    return items


# An entry may take up to 20 KB, so the cache is small.
@lru_cache(maxsize=256)
def _header(
    headers: tuple[object, ...],
    compression: str,
    tags: tuple[tuple[str, str], ...],
    metadata: tuple[tuple[str, str], ...],
) -> bytes:
    size = 0
    for name, value in zip(HEADERS, headers, strict=True):
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > MAX_HEADER or not _HEADER_TEXT.fullmatch(value):
            raise InvalidWrite(
                f"{name} must be a str of 1 to {MAX_HEADER:,} printable ASCII characters, without line breaks and "
                "without spaces around it"
            )
        size += len(name) + len(value)
    if compression not in ("zstd", "none"):
        raise InvalidWrite(f"no compression {compression!r}: zstd or none")
    size += _check_tags(tags) + _check_metadata(metadata)
    if size > MAX_ALL_HEADERS:
        raise InvalidWrite(
            f"headers, metadata and tags have {size:,} bytes as they are sent, S3 leaves room for {MAX_ALL_HEADERS:,}"
        )
    content_type, cache_control, content_disposition, storage_class = cast("tuple[str | None, ...]", headers)
    return encode_header(
        Header(
            content_type=content_type,
            cache_control=cache_control,
            content_disposition=content_disposition,
            storage_class=storage_class,
            compression=None if compression == "zstd" else compression,
            tags=dict(tags),
            metadata=dict(metadata),
        )
    )


def _check_tags(tags: tuple[tuple[str, str], ...]) -> int:
    """Their size as they are sent, in a header of percent-encoded text."""
    size = 0
    if len(tags) > MAX_TAGS:
        raise InvalidWrite(f"{len(tags)} tags, S3 takes at most {MAX_TAGS}")
    for name, value in tags:
        if not 1 <= len(name) <= MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            raise InvalidWrite(
                f"tag {name[:MAX_TAG_KEY]!r}: a tag's key has 1 to {MAX_TAG_KEY} characters, "
                f"its value up to {MAX_TAG_VALUE}"
            )
        if name.lower().startswith("aws:"):
            raise InvalidWrite(f"tag {name!r}: keys that begin with aws: are reserved")
        if not _TAG_TEXT.fullmatch(name) or not _TAG_TEXT.fullmatch(value):
            raise InvalidWrite(f"tag {name!r}: only letters, digits, spaces and + - = . _ : / @ are allowed")
        size += len(quote_plus(name)) + len(quote_plus(value)) + 2
    return size


def _check_metadata(metadata: tuple[tuple[str, str], ...]) -> int:
    size = 0
    seen = set()
    for name, value in metadata:
        size += len(name) + len(value)
        if not _META_NAME.fullmatch(name) or name.lower().startswith("penstock-") or name.lower() in seen:
            raise InvalidWrite(
                f"metadata {name[:64]!r}: a name is made of letters, digits and hyphens, given once whatever its case, "
                "and does not begin with penstock-"
            )
        seen.add(name.lower())
        if value and not _HEADER_TEXT.fullmatch(value):
            raise InvalidWrite(
                f"metadata {name[:64]!r}: a value is printable ASCII, without line breaks and without spaces around "
                "it; encode all else"
            )
    if size > MAX_METADATA_BYTES:
        raise InvalidWrite(
            f"metadata of {size:,} bytes: S3 takes 2,048 with Penstock's own, so {MAX_METADATA_BYTES:,} here"
        )
    return size + len(metadata) * len("x-amz-meta-: ")
