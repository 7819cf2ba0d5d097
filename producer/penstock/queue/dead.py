"""Dead letters by filter, one by one, purged, and carried out of Redis and back."""

from __future__ import annotations

import heapq
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, cast

from penstock.queue.answers import parse_dead
from penstock.queue.client import Queue
from penstock.queue.enqueue import BLOB_TTL
from penstock.queue.names import PRIORITIES
from penstock.queue.record import Header, decode
from penstock.queue.results import DeadLetter
from penstock.queue.sharded import AnyQueue

PAGE = 500
"""Letters one call looks at, without their payloads."""

PURGE_STEP = 50
"""Letters one script call removes: a few milliseconds of Redis's time."""


class DeadRef(NamedTuple):
    """Which letter: its number alone does not tell, because each shard gives its own."""

    bucket: str
    key: str
    seq: int


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which letters; None means any. ``died_before`` is in seconds since the epoch."""

    code: str | None = None
    bucket: str | None = None
    tenant: str | None = None
    died_before: float | None = None

    def matches(self, letter: DeadLetter) -> bool:
        return (
            self.code in (None, letter.failure.code)
            and self.bucket in (None, letter.bucket)
            and self.tenant in (None, letter.tenant)
            and (self.died_before is None or letter.died_at.timestamp() < self.died_before)
        )


@dataclass(frozen=True, slots=True)
class Payload:
    """A dead letter as it lies in Redis. ``large_body`` None when the record holds the body itself."""

    seq: int
    info: bytes
    record: bytes
    large_body: bytes | None


@dataclass(frozen=True, slots=True)
class DeadDetails:
    """A letter and what goes along with its body; None where a newer Penstock wrote it."""

    letter: DeadLetter
    header: Header | None
    sha256: str | None
    body_size: int | None


def pages(queue: AnyQueue, where: DeadFilter) -> Iterator[list[DeadLetter]]:
    """What matches, oldest first, page by page; a page may be empty.

    What is dead from the first page to the last is in one of them, whatever is removed meanwhile.
    """
    letters = heapq.merge(*map(_letters, queue.shards), key=lambda letter: letter.died_at)
    while page := list(islice(letters, PAGE)):
        yield [letter for letter in page if where.matches(letter)]


def _letters(shard: Queue) -> Iterator[DeadLetter]:
    after: list[bytes] = []
    while page := shard.run("list_dead", PAGE, *after):
        died, *found = page
        for seq, info in zip(found[::2], found[1::2], strict=True):
            if info is not None:  # else Redis has evicted them all
                yield parse_dead(seq, info)
        if len(found) < 2 * PAGE:
            return
        after = [died, found[-2]]


def by_shard(queue: AnyQueue, refs: Iterable[DeadRef]) -> Iterable[tuple[Queue, list[int]]]:
    """The letters' numbers by the shard that has them, as `purge` and ``Queue.retry_dead`` take them."""
    found: dict[Queue, list[int]] = defaultdict(list)
    for ref in refs:
        found[queue.of(ref.bucket, ref.key)].append(ref.seq)
    return found.items()


def of_name(queue: AnyQueue, bucket: str, key: str) -> list[DeadDetails]:
    """All that is known of a name's dead letters except their bodies, oldest first."""
    found = []
    shard = queue.of(bucket, key)
    for seq in shard.dead_seqs(bucket, key):  # 16 at the most
        payload = _read(shard, seq)
        if payload is not None:
            letter = parse_dead(seq.to_bytes(8), payload[0])
            try:
                record = decode(payload[1])
            except ValueError:  # of a newer wire version
                found.append(DeadDetails(letter, None, None, None))
            else:
                found.append(DeadDetails(letter, record.header, record.sha256.hex(), record.body_size))
    return found


def purge(queue: Queue, seqs: Sequence[int]) -> int:
    """Removes these letters for good, in one call; at most PURGE_STEP. Returns how many there were."""
    purged: int = queue.run("purge_dead", *[seq.to_bytes(8) for seq in seqs[:PURGE_STEP]])
    return purged


def read_payload(queue: Queue, seq: int) -> Payload | None:
    """One letter with its payload; None when it is gone. Two round trips."""
    found = _read(queue, seq)
    if found is None:
        return None
    info, data = found
    blob = _blob(data)
    return Payload(seq, info, data, None if blob is None else queue.fetch_blobs([blob[0]], [blob[1]])[0])


def restore(queue: AnyQueue, payload: Payload) -> str:
    """Takes an exported letter back, see ``import_dead.lua`` for the answer's letters.

    Raises:
        ValueError: the bytes are no dead letter.
    """
    letter = _check(payload)
    shard = queue.of(letter.bucket, letter.key)
    seq = payload.seq.to_bytes(8)
    blob = _blob(payload.record)
    if blob is not None and payload.large_body is not None:
        # Only if it is not there: the record that it belongs to then answers for it.
        shard.client.set(f"{shard.prefix}blob:{blob[0]}", payload.large_body, nx=True, ex=BLOB_TTL)
    answer: bytes = shard.run("import_dead", len(queue.shards), seq, payload.info, payload.record)
    return answer.decode()


def _check(payload: Payload) -> DeadLetter:
    """Its facts. Scripts trust the layout of what they move, so nothing may come in that has another."""
    try:
        letter = parse_dead(payload.seq.to_bytes(8), payload.info)
        record = decode(payload.record)
    except (ValueError, struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"damaged: {error}") from error
    if not letter.key or record.priority >= len(PRIORITIES):
        raise ValueError("it names no key, or no priority")
    size = len(payload.record) - 18 + (record.body_size if record.blob_id is not None else 0)
    if (record.seq, record.tenant, record.is_delete, size) != (
        payload.seq, letter.tenant, letter.operation == "delete", letter.size,
    ):  # fmt: skip
        raise ValueError("its record is not that of its facts")
    if record.blob_id is not None and len(payload.large_body or b"") != record.body_size:
        raise ValueError("its large body is missing or cut off")
    return letter


def _read(queue: Queue, seq: int) -> tuple[bytes, bytes] | None:
    client = cast("Any", queue.client)
    with client.pipeline(transaction=True) as pipe:
        pipe.hget(queue.prefix + "dead:info", seq.to_bytes(8))
        pipe.hget(queue.prefix + "dead:body", seq.to_bytes(8))
        info, data = pipe.execute()
    return None if info is None or data is None else (info, data)


def _blob(record: bytes) -> tuple[str, int] | None:
    """Its large body's id and bytes."""
    # The frame is the same in every wire version, so a letter of a newer one can be carried too.
    if not record[17] & 2:
        return None
    at = 19 + record[18]
    end = at + 1 + record[at]
    return record[at + 1 : end].decode(), int.from_bytes(record[end : end + 4])
