"""Packs a validated write for the queue. Apart from the check, because ``put_many`` packs while Redis works."""

from __future__ import annotations

import hashlib

from penstock.queue.enqueue import Prepared
from penstock.queue.record import BLOB_FRAME_BYTES, FLAG_BLOB, FRAME_BYTES, encode_tail

Checked = tuple[bytes, int, bytes, bytes, bytes, bytes | None]
"""A validated put: name, priority, tenant, header, body, and a large body's id."""


def cost_of(checked: Checked) -> int:
    """What it adds to a call's bytes: its ``cost`` when it is packed."""
    name, _, tenant, header, body, blob_id = checked
    large = 0 if blob_id is None else BLOB_FRAME_BYTES + len(blob_id)
    return len(name) + FRAME_BYTES + len(tenant) + len(header) + len(body) + large


def pack(checked: Checked) -> Prepared:
    name, priority, tenant, header, body, blob_id = checked
    tail = encode_tail(tenant, hashlib.sha256(body).digest(), header, body, blob_id)
    if blob_id is None:
        return Prepared(name, bytes((priority, 0)), tail, None, b"")
    return Prepared(name, bytes((priority, FLAG_BLOB)), tail, blob_id, body)
