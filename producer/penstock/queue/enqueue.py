"""The enqueue call: its bytes on the wire and its answer. What sync and async producers share; no I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from penstock.errors import PenstockError, QueueFull, QueueUnavailable
from penstock.queue.names import key_prefix
from penstock.queue.resp import append_command, pack_bulk, pack_command
from penstock.queue.scripts import Script, load

MAX_CALL_WRITES = 256
MAX_CALL_BYTES = 1024 * 1024
"""What one script call takes: bounds the time for which it holds Redis (about a millisecond)."""

BLOB_TTL = 600
"""Seconds after which a large body that no write names is gone: far above any producer's time limit."""

_NUMBER = Struct(">Q")
_LIMITS = Struct(">QQ")
_GROUP = Struct(">H")
_ACCEPTED = Struct(">Q?")


class Prepared(NamedTuple):
    """A validated write, packed. ``cost`` is what it adds to a call's bytes, a large body included."""

    name: bytes
    head: bytes
    tail: bytes
    blob_id: bytes | None
    blob: bytes

    @property
    def cost(self) -> int:
        return len(self.name) + len(self.tail) + len(self.blob)


class OtherShards(QueueUnavailable):
    """Nothing was accepted: the queue has ``shards`` shards, and the call was made for another number.

    0 while the number is being changed. A caller sees this error only when that lasts for all of its time.
    """

    def __init__(self, shards: int) -> None:
        super().__init__(
            "the queue's number of shards is being changed, or its shards do not agree about it: put again soon; "
            "see `penstock doctor` if it stays so",
            maybe_accepted=False,
        )
        self.shards = shards


class LateCall(QueueUnavailable):
    """The call is older than one of the same producer that was answered. Whether it was accepted is not known."""

    def __init__(self) -> None:
        super().__init__("the request came too late and was refused: put it again", maybe_accepted=True)


Accepted = list[tuple[int, bool]]
"""Sequence number and whether it replaced a waiting write, in the order of the group. 0: the write lies in the
spool now; or, of a replayed one, it was superseded."""


@dataclass(frozen=True, slots=True)
class EnqueueCodec:
    """Makes enqueue calls for one shard of a queue."""

    prefix: bytes
    script: Script
    shards: bytes = b"1"
    _fixed: bytes = field(init=False)
    _shards: bytes = field(init=False)

    def __post_init__(self) -> None:
        words = (b"EVALSHA", self.script.sha, b"2", self.prefix + b"meta", self.prefix + b"absent")
        object.__setattr__(self, "_fixed", b"".join([pack_bulk(word) for word in words]))
        object.__setattr__(self, "_shards", pack_bulk(self.shards))

    @classmethod
    def for_shard(cls, queue: str, shard: int, shards: int) -> EnqueueCodec:
        return cls(key_prefix(queue, shard, shards).encode(), load("enqueue"), b"%d" % shards)

    def encode(self, producer_id: bytes, number: int, groups: Sequence[Sequence[Prepared]]) -> tuple[bytes, int]:
        """The bytes to send, and how many replies come back: one a large body, and the script's, last.

        A large body is set only if it is not there (NX): when the call is sent again after it was accepted, the body
        has lost its expiry already and must not get a new one.
        """
        blobs: list[bytes] = []
        replies = 1
        sizes = b"".join([_GROUP.pack(len(group)) for group in groups])
        out = [self._fixed, pack_bulk(producer_id), pack_bulk(_NUMBER.pack(number)), self._shards, pack_bulk(sizes)]
        count = 0
        for group in groups:
            count += len(group)
            for name, head, tail, blob_id, blob in group:
                out += (
                    b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, len(head), head, len(tail)),
                    tail,
                    b"\r\n",
                )
                if blob_id is not None:
                    key = self.prefix + b"blob:" + blob_id
                    append_command(blobs, (b"SET", key, blob, b"NX", b"EX", b"%d" % BLOB_TTL))
                    replies += 1
        # 9 words come before the writes, of three each.
        return b"".join((*blobs, b"*%d\r\n" % (9 + 3 * count), *out)), replies

    def load_command(self) -> bytes:
        return pack_command((b"SCRIPT", b"LOAD", self.script.source))


def decode_answer(
    answer: bytes, groups: Sequence[Sequence[Prepared]], refused: PenstockError | None = None
) -> list[Accepted | PenstockError]:
    """What became of each group. See ``enqueue.lua`` for the format. ``refused``: why a large body is not there."""
    if answer == b"O":
        return [LateCall() for _ in groups]
    if answer[:1] == b"R":
        return [OtherShards(int.from_bytes(answer[1:3])) for _ in groups]
    results: list[Accepted | PenstockError] = []
    at = 0
    for group in groups:
        letter = answer[at : at + 1]
        at += 1
        if letter == b"A":
            end = at + _ACCEPTED.size * len(group)
            results.append(list(_ACCEPTED.iter_unpack(answer[at:end])))
            at = end
            continue
        limit, current = _LIMITS.unpack_from(answer, at)
        at += _LIMITS.size
        if letter == b"m":
            gone = "a large body was gone before its write arrived: put it again"
            results.append(refused or QueueUnavailable(gone, maybe_accepted=False))
        else:
            results.append(QueueFull("items" if letter == b"i" else "bytes", limit, current))
    return results
