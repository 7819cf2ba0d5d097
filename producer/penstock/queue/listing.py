"""Listings in parts: so many writes, and a cursor with which the next part goes on, in another process and later."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import astuple

import msgspec

from penstock.errors import InvalidSetting
from penstock.queue.look import Entry, Filter, Place, steps
from penstock.queue.names import PRIORITIES, join_name
from penstock.queue.sharded import AnyQueue


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a part ended: after the write whose name has the checksum ``last``, on the shard's page that begins at
    ``page``."""

    options: int
    shard: int
    source: int
    page: bytes
    last: int


def part(queue: AnyQueue, where: Filter, limit: int, cursor: str = "") -> tuple[list[Entry], str | None]:
    """At most ``limit`` writes that match, from ``cursor`` on ('' is the beginning), and the next part's cursor.

    What is in the queue from the first part to the last, and changes its state no more than it passes the filter, is in
    one of them, or twice. The last part's cursor is None; a part may be empty.

    Raises:
        InvalidSetting: the cursor is damaged, or of a listing with another filter.
    """
    options = _checksum(repr((astuple(where), len(queue.shards))))
    begin = _decode(cursor, options) if cursor else _Cursor(options, 0, 0, b"0", 0)
    found: dict[str, Entry] = {}
    skip_to = begin.last
    for page in steps(queue, where, at=Place(begin.source, begin.page, begin.shard)):
        names = {join_name(entry.bucket, entry.key): entry for entry in page.entries}
        fresh = list(names)
        if skip_to:
            # Who ended the part before may be gone: then the page comes once more.
            ends = [at for at, name in enumerate(fresh) if _checksum(name) == skip_to]
            fresh = fresh[ends[0] + 1 :] if ends else fresh
            skip_to = 0
        fresh = [name for name in fresh if name not in found]
        taken = fresh[: limit - len(found)]
        found.update({name: names[name] for name in taken})
        if len(taken) < len(fresh):
            last = _checksum(taken[-1])
            return list(found.values()), _encode(_Cursor(options, page.at.shard, page.at.source, page.at.cursor, last))
        if len(found) >= limit and page.after is not None:
            return list(found.values()), _encode(
                _Cursor(options, page.after.shard, page.after.source, page.after.cursor, 0)
            )
    return list(found.values()), None


def _checksum(text: str) -> int:
    # Never 0, which stands for none.
    return binascii.crc32(text.encode()) or 1


def _encode(cursor: _Cursor) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def _decode(text: str, options: int) -> _Cursor:
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.msgpack.decode(packed, type=_Cursor)
    except (ValueError, binascii.Error):
        raise InvalidSetting("--cursor is damaged: give it as it was printed, or '' to begin") from None
    if cursor.options != options or not 0 <= cursor.source <= len(PRIORITIES) or cursor.shard < 0:
        raise InvalidSetting("--cursor is of a listing with other options: give the same ones, or '' to begin")
    return cursor
