"""Where one accepted write stands: the call's bytes on the wire and its answer. No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.queue.answers import parse_dead
from penstock.queue.names import key_prefix, script_keys
from penstock.queue.resp import append_command
from penstock.queue.results import Failure
from penstock.queue.scripts import Script, load

STATES = ("ready", "delayed", "inflight", "parked", "ready")
"""In the order of the scripts' numbers, from 1."""

_ENDS = {b"s": "stored", b"p": "purged", b"u": "superseded", b"f": "forgotten"}


@dataclass(frozen=True, slots=True)
class Question:
    """Asks for a write by its name and number. What the answer before has told makes the next one cheaper."""

    name: bytes
    seq: bytes
    after: bytes
    cursor: bytes = b"+"
    newer: bytes = b"0"

    @classmethod
    def of(cls, name: bytes, seq: int) -> Question:
        return cls(name, seq.to_bytes(8), seq.to_bytes(8))


@dataclass(frozen=True, slots=True)
class Waiting:
    """It is in the queue. ``again`` asks for it later."""

    state: str
    again: Question


@dataclass(frozen=True, slots=True)
class More:
    """It is not in the queue any more, and ``again`` looks further into what became of it."""

    again: Question


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over. ``failure`` only of a dead one."""

    outcome: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another shard knows: the queue has ``shards``, 0 while that is being changed."""

    shards: int


Place = Waiting | More | Ended | Elsewhere


@dataclass(frozen=True, slots=True)
class PlaceCodec:
    """Asks one shard of a queue."""

    keys: tuple[bytes, bytes]
    script: Script
    shards: bytes

    @classmethod
    def for_shard(cls, queue: str, shard: int, shards: int) -> PlaceCodec:
        meta, absent = script_keys(key_prefix(queue, shard, shards))
        return cls((meta.encode(), absent.encode()), load("place"), b"%d" % shards)

    def encode(self, question: Question, *, with_script: bool) -> tuple[bytes, int]:
        """The bytes to send, and how many replies come back, the answer last."""
        out: list[bytes] = []
        if with_script:
            append_command(out, (b"SCRIPT", b"LOAD", self.script.source))
        args = (question.name, question.seq, question.after, question.cursor, question.newer, self.shards)
        append_command(out, (b"EVALSHA", self.script.sha, b"2", *self.keys, *args))
        return b"".join(out), 1 + with_script


def decode_place(answer: Sequence[Any], question: Question) -> Place:
    """See ``place.lua`` for the format."""
    letter = answer[0]
    if letter == b"w":
        return Waiting(STATES[answer[1] - 1], replace(question, after=answer[2], cursor=b"+", newer=b"0"))
    if letter == b"m":
        return More(replace(question, cursor=answer[1], newer=answer[2]))
    if letter == b"d":
        return Ended("dead", parse_dead(question.seq, answer[1]).failure)
    if letter == b"r":
        return Elsewhere(answer[1])
    return Ended(_ENDS[letter])
