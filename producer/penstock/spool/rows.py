"""How writes lie in the spool: one row holds what one call of an application accepts as a whole."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.errors import InvalidSetting
from penstock.queue.commit import Group
from penstock.queue.durability import Durability
from penstock.queue.enqueue import Prepared
from penstock.queue.names import PRIORITIES, split_name
from penstock.queue.record import FLAG_DELETE, decode
from penstock.spool.clock import Moment

ROW_BYTES = 512
"""What a row costs beside its writes, about; counted, so that many small writes are bounded too."""

SELECT = "SELECT id, shard, shards, boot, uptime, wall, floor, durability, producer, number, body FROM calls"
"""The start of a statement that finds what `read_row` reads."""

_RECORD = bytes((1,)) + bytes(15)
"""What the enqueue script puts before a write's own head: version, number, age."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[tuple[bytes, bytes, bytes, bytes | None, bytes]]]).decode


class DamagedRowError(Exception):
    """A row that SQLite reads and Penstock cannot: SQLite has no checksums."""

    def __init__(self, row_id: int, why: Exception) -> None:
        super().__init__(f"row {row_id}: {why}")
        self.row_id = row_id


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row's writes come from.

    Attributes:
        shard, shards: whom they were meant for, as far as the producer knew.
        at: when they were accepted, at the earliest.
        floor: the highest number that the host had been given by the shard before.
        producer, number: of a call whose answer was lost, its identity: sent again under it, it counts once.
    """

    shard: int
    shards: int
    at: Moment
    floor: int
    durability: str
    producer: bytes | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    id: int
    origin: Origin
    groups: list[Group]

    @property
    def writes(self) -> Group:
        return [write for group in self.groups for write in group]


@dataclass(frozen=True, slots=True)
class SpooledWrite:
    """``accepted_at``: seconds since the epoch, by the host's clock."""

    bucket: str
    key: str
    accepted_at: float
    priority: int
    is_delete: bool
    tenant: str
    body: bytes


def pack_groups(groups: list[Group]) -> bytes:
    return _encode(groups)


def read_row(found: tuple[Any, ...]) -> Row:
    """What a `SELECT` found, with nothing in it that cannot be replayed.

    Raises:
        DamagedRowError: it is not as it was written.
    """
    id_, shard, shards, boot, uptime, wall, floor, durability, producer, number, body = found
    try:
        for count in (shard, shards, uptime, wall, floor):
            if not isinstance(count, int) or count < 0:
                raise ValueError("a number is none")
        Durability.parse(durability)
        groups = unpack_groups(body)
        for group in groups:
            for write in group:
                unpack_write(write)
    except (ValueError, TypeError, IndexError, struct.error, InvalidSetting) as error:
        raise DamagedRowError(id_, error) from None
    return Row(id_, Origin(shard, shards, Moment(boot, uptime, wall), floor, durability, producer, number), groups)


def unpack_groups(data: bytes) -> list[Group]:
    """Raises ValueError, TypeError: the bytes are no such thing."""
    return [[Prepared(*write) for write in group] for group in _decode(data)]


def unpack_write(write: Prepared, accepted_at: float = 0.0) -> SpooledWrite:
    """Raises ValueError, IndexError, struct.error: it is none."""
    record = decode(_RECORD + write.head + write.tail)
    bucket, key = split_name(write.name)
    if record.blob_id != (None if write.blob_id is None else write.blob_id.decode()):
        raise ValueError("a large body has another id")
    if record.priority >= len(PRIORITIES):
        raise ValueError("a priority is none")
    body = write.blob if write.blob_id is not None else bytes(record.body or b"")
    is_delete = bool(write.head[1] & FLAG_DELETE)
    return SpooledWrite(bucket, key, accepted_at, record.priority, is_delete, record.tenant, body)
