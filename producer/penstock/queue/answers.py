"""Reads the scripts' answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from struct import Struct
from typing import Any

import msgspec

from penstock.queue.names import PRIORITIES, split_name
from penstock.queue.results import (
    DEFAULT_BYTES,
    DEFAULT_DEAD_BYTES,
    DEFAULT_ITEMS,
    Batch,
    Block,
    Claimed,
    DeadLetter,
    Failure,
    Limits,
    Stats,
    Suspension,
)

# Flags in a name's history, not in a record: see scripts/include/state.lua.
_STATE_DELETE, _STATE_SWEPT = 2, 4
# A dead letter's only: see scripts/include/dead.lua.
_IMPORTED = 128
_STATE = Struct(">Q7sBBBBI")
_DEAD = Struct(">7s7sBBBIH")
_decode_reasons = msgspec.msgpack.Decoder(dict[str, tuple[int, str]]).decode


def parse_batch(raw: Sequence[Any], epoch: int) -> Batch:
    writes = []
    for at in range(1, len(raw), 3):
        state: bytes = raw[at + 1]
        seq, since, _, priority, attempts, flags, size = _STATE.unpack_from(state)
        writes.append(
            Claimed(
                raw[at],
                seq,
                int.from_bytes(since),
                priority,
                attempts,
                bool(flags & _STATE_DELETE),
                size,
                state[_STATE.size :],
                raw[at + 2],
                bool(flags & _STATE_SWEPT),
            )
        )
    return Batch(raw[0].decode(), writes, epoch)


def parse_stats(queue: str, raw: Sequence[Any]) -> Stats:
    now = int(raw[0])
    meta = _pairs(raw[1])
    count = pair_counters(raw[2])

    def each(prefix: str) -> dict[str, int]:
        return {name: count.get(f"{prefix}{number}", 0) for number, name in enumerate(PRIORITIES)}

    apart = each("l")  # swept writes, which wait apart from the lanes
    return Stats(
        queue=queue,
        now=now / 1e6,
        shards=int(meta.get("shards", 1)),
        paused="paused" in meta,
        ready={name: lanes + apart[name] for name, lanes in each("r").items()},
        delayed=count.get("delayed", 0),
        inflight=count.get("inflight", 0),
        parked=count.get("parked", 0),
        dead=count.get("dead", 0),
        contested=count.get("contested", 0),
        items=count.get("items", 0),
        bytes=count.get("bytes", 0),
        dead_bytes=count.get("dead_bytes", 0),
        oldest_age={
            name: None if head is None else max(0.0, (now - int(head)) / 1e6)
            for name, head in zip(PRIORITIES, raw[3:7], strict=True)
        },
        limits=Limits(
            int(meta.get("items", DEFAULT_ITEMS)),
            int(meta.get("bytes", DEFAULT_BYTES)),
            int(meta.get("dead_bytes", DEFAULT_DEAD_BYTES)),
        ),
        accepted=each("acc"),
        coalesced=each("coa"),
        rejected={reason: count.get(f"rejected_{reason}", 0) for reason in ("items", "bytes", "body")},
        blocks=_blocks(raw[7]),
        suspended=_suspended(raw[8]),
        set_aside=sum(each("a").values()),
        epoch_left=max(0.0, (float(meta.get("epoch_until", 0)) - now) / 1e6),
    )


def parse_dead(seq: bytes, info: bytes) -> DeadLetter:
    since, died, priority, attempts, flags, size, length = _DEAD.unpack_from(info)
    at = _DEAD.size
    bucket, key = split_name(info[at : at + length])
    at += length
    tenant = info[at + 1 : at + 1 + info[at]].decode()
    at += 1 + info[at]
    return DeadLetter(
        bucket=bucket,
        key=key,
        seq=int.from_bytes(seq),
        operation="delete" if flags & _STATE_DELETE else "put",
        priority=PRIORITIES[priority],
        tenant=tenant,
        attempts=attempts,
        failure=msgspec.msgpack.decode(info[at:], type=Failure),
        accepted_at=_time(since),
        died_at=_time(died),
        size=size,
        imported=bool(flags & _IMPORTED),
    )


def _blocks(flat: Sequence[bytes]) -> list[Block]:
    found = []
    for subject, packed in zip(flat[::2], flat[1::2], strict=True):
        bucket, slash, tenant = subject.decode().partition("/")
        for reason, (since, note) in _decode_reasons(packed).items():
            at = datetime.fromtimestamp(since / 1e6, UTC)
            found.append(Block(bucket or None, tenant if slash else None, reason, at, note))
    return sorted(found, key=lambda block: (block.bucket or "", block.tenant or "", block.reason))


def _suspended(flat: Sequence[bytes]) -> list[Suspension]:
    found = []
    for bucket, packed in zip(flat[::2], flat[1::2], strict=True):
        facts = msgspec.msgpack.decode(packed)
        found.append(
            Suspension(
                bucket=bucket.decode(),
                since=datetime.fromtimestamp(facts["since"] / 1e6, UTC),
                next_probe=datetime.fromtimestamp(facts["next"] / 1e6, UTC),
                probes=facts["probes"],
                error_class=facts["class"],
                code=facts["code"],
                http_status=int(facts["status"]) or None,
            )
        )
    return sorted(found, key=lambda one: one.bucket)


def pair_counters(flat: Sequence[Any]) -> dict[str, int]:
    """Counters as scripts return them: name, value, …"""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    return {flat[at].decode(): flat[at + 1].decode() for at in range(0, len(flat), 2)}


def _time(micros: bytes) -> datetime:
    return datetime.fromtimestamp(int.from_bytes(micros) / 1e6, UTC)
