"""Which writes have ended since the spool's oldest was accepted, as a shard's stream `settled` tells."""

from __future__ import annotations

import hashlib
from typing import Any

import redis

_PAGE = 200
"""Entries a read: half a millisecond of Redis's time."""
_HEAD = 8
_SEQ = 8
_TAG = 16


class Recent:
    """Of one shard. For one thread. Its errors are redis-py's."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client: Any = client
        self._key = f"{prefix}settled"
        self._newest: dict[bytes, int] = {}
        self.cursor = b"0-0"
        """The last entry that was read, or the newest there was before."""

    def refresh(self, since: int) -> None:
        """Reads what is new; the first time back to when the queue's numbers were below ``since``."""
        end: bytes | str = "+"
        newest: bytes | None = None
        seen = bytes(_HEAD)
        while True:
            entries = self._client.xrevrange(self._key, end, "(" + self.cursor.decode(), count=_PAGE)
            for id_, fields in entries:
                newest = newest or id_
                (seen,) = fields.values()
                self._note(seen)
            if len(entries) < _PAGE or int.from_bytes(seen[:_HEAD]) < since:
                break
            end = "(" + id_.decode()
        self.cursor = newest or self.cursor

    def newest(self, name: bytes) -> int:
        """The highest number of the name's writes that have ended, or 0."""
        tag = hashlib.sha1(name, usedforsecurity=False).hexdigest()[:_TAG].encode()
        return self._newest.get(tag, 0)

    def _note(self, seen: bytes) -> None:
        for at in range(_HEAD, len(seen), _SEQ + _TAG):
            seq, tag = int.from_bytes(seen[at : at + _SEQ]), seen[at + _SEQ : at + _SEQ + _TAG]
            if seq > self._newest.get(tag, 0):
                self._newest[tag] = seq
