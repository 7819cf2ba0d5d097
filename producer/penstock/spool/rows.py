"""How writes lie in the spool: one row holds what one call of an application accepts as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from penstock.queue.commit import Group
from penstock.queue.enqueue import Prepared
from penstock.spool.clock import Moment

ROW_BYTES = 512
"""What a row costs beside its writes, about; counted, so that many small writes are bounded too."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[tuple[bytes, bytes, bytes, bytes | None, bytes]]]).decode


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


def pack_groups(groups: list[Group]) -> bytes:
    return _encode(groups)


def unpack_groups(data: bytes) -> list[Group]:
    """Raises ValueError: the bytes are no such thing."""
    return [[Prepared(*write) for write in group] for group in _decode(data)]
