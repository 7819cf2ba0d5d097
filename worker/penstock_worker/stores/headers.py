"""What may go into a header, asked before anything is sent.

A line break in a value would be a header of its own; object_store panics on what is no header, and boto3
sends some of it and signs another thing. So both engines refuse the same, in the same words.
"""

from __future__ import annotations

import re
from functools import lru_cache

from penstock_worker.stores import faults
from penstock_worker.stores.base import PutRequest

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


def refuse_bad_headers(request: PutRequest) -> None:
    """Raise a permanent `StoreFault` if a value is not printable ASCII or a metadata name no header token."""
    for name in request.metadata:
        if not _is_token(name):
            raise _refusal("a metadata name is not a header token")
    if not _is_plain("".join(request.metadata.values())):
        name = next(name for name, value in request.metadata.items() if not _is_plain(value))
        raise _refusal(f"the value of metadata {name} is not printable ASCII")
    headers = (
        f"{request.content_type}{request.cache_control}{request.content_disposition}"
        f"{request.content_encoding}{request.storage_class}"
    )
    if not _is_plain(headers):
        raise _refusal("a content header or the storage class is not printable ASCII")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


@lru_cache(maxsize=1024)  # writers use few names; the limit holds when one does not
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


def _refusal(message: str) -> Exception:
    return faults.fault(faults.INVALID_PARAMETER, None, message)
