"""Reads everything a queue keeps in Redis and asserts that its parts agree (layout 2, see ``include/keys.lua``)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, cast

import redis

from tests.support.queue_counters import read_counters

READY, DELAYED, INFLIGHT, PARKED, ALONE = 1, 2, 3, 4, 5
NEWER, DELETE, SWEPT, BLOB = 1, 2, 4, 8
RECORD_HEAD = 18
_STATE = Struct(">Q7sBBBBI")
_INFO = Struct(">7s7sBBBIH")
_SORTED = {"due", "alone", "lease", "worker", "parked", "contested", "dead:at"}
_TYPED = {"audit": b"stream", "settled": b"stream", "count": b"string", "count:more": b"string"}
_SIMPLE = {
    *("meta", "write", "state", "due", "lease", "parked", "failure", "wake"),
    *("suspended", "suspects", "ok"),
    *("blocks", "ending", "mark", "retained", "kept", "workers", "replayed"),
    *("dead:at", "dead:info", "dead:body", "dead:name"),
}


@dataclass(frozen=True)
class _Record:
    seq: int
    since: int
    priority: int
    flags: int
    tenant: bytes
    blob: str | None
    charge: int

    @classmethod
    def parse(cls, data: bytes) -> _Record:
        flags, at = data[17], RECORD_HEAD
        tenant = data[at + 1 : at + 1 + data[at]]
        at += 1 + len(tenant)
        blob, size = None, 0
        if flags & 2:
            blob = data[at + 1 : at + 1 + data[at]].decode()
            at += 1 + data[at]
            size = int.from_bytes(data[at : at + 4])
        return cls(
            int.from_bytes(data[1:9]), int.from_bytes(data[9:16]), data[16], flags, tenant, blob,
            len(data) - RECORD_HEAD + size,
        )  # fmt: skip


@dataclass
class _Contents:
    """A queue's keys by their suffix: hashes and sorted sets as dicts."""

    hashes: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    zsets: dict[str, dict[bytes, int]] = field(default_factory=dict)
    blobs: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    wake: int = 0

    def hash(self, key: str) -> dict[bytes, bytes]:
        return self.hashes.get(key, {})

    def zset(self, key: str) -> dict[bytes, int]:
        return self.zsets.get(key, {})

    def below(self, start: str) -> list[str]:
        return [key for key in (*self.zsets, *self.hashes) if key.startswith(start)]


def _read(client: redis.Redis, prefix: str) -> _Contents:
    found = cast("list[bytes]", client.keys(re.sub(r"([\[\]*?\\])", r"\\\1", prefix) + "*"))
    keys = sorted(key.decode() for key in found)
    with client.pipeline(transaction=False) as pipe:
        commands: Any = pipe
        for key in keys:
            kind = key.removeprefix(prefix)
            if kind.startswith(("blob:", "call:", "test:")):
                commands.ttl(key)
            elif kind.startswith(("lane:", "ring:", "heads:", "aside")) or kind in _SORTED:
                commands.zrange(key, 0, -1, withscores=True)
            elif kind == "wake":
                commands.llen(key)
            elif kind in _TYPED:
                commands.type(key)
            else:
                assert kind in _SIMPLE or kind.startswith("claim:"), f"an unknown key: {kind}"
                commands.hgetall(key)
        answers: list[Any] = pipe.execute()
    contents = _Contents()
    for key, answer in zip(keys, answers, strict=True):
        kind = key.removeprefix(prefix)
        if kind.startswith("call:"):
            assert answer > 0, "an answer kept for ever"
        elif kind.startswith("blob:"):
            contents.blobs[kind.removeprefix("blob:")] = answer
        elif kind in _TYPED:
            assert answer == _TYPED[kind]
        elif kind == "wake":
            contents.wake = answer
        elif isinstance(answer, dict):
            contents.hashes[kind] = answer
        elif isinstance(answer, list):
            contents.zsets[kind] = {member: int(score) for member, score in answer}
    contents.counters = read_counters(client, prefix)
    return contents


@dataclass(frozen=True)
class Seen:
    """What the queue holds: of each name place, sequence number, age and priority; the dead letters' numbers; flows
    that are set aside, and whether some are on their way back."""

    names: dict[bytes, tuple[int, int, int, int]]
    dead: set[int]
    aside: set[tuple[int, bytes, bytes]]
    ending: bool
    retained: dict[bytes, int]
    """Of each marked name the number of what is retained, 0 for nothing."""


def check_layout(client: redis.Redis, prefix: str) -> Seen:
    """Raises AssertionError naming the first part that disagrees with the records."""
    contents = _read(client, prefix)
    records = {name: _Record.parse(data) for name, data in contents.hash("write").items()}
    places = _check_states(contents, records)
    aside = _check_lanes(contents, records, places)
    _check_claims(contents, records, places)
    dead = _check_dead(contents)
    retained, kept = _check_marks(contents, records)
    beside = [*retained.values(), *kept.values()]
    _check_blobs(contents, [*records.values(), *dead.values(), *beside])
    _check_counters(contents, records, places, dead, aside, beside)
    assert contents.wake <= 1, "more than one wake-up"
    assert contents.hash("workers").keys() == contents.zset("worker").keys(), "workers' facts and beats disagree"
    return Seen(
        {name: (places[name], found.seq, found.since, found.priority) for name, found in records.items()},
        {int.from_bytes(seq) for seq in dead},
        aside,
        bool(contents.hash("ending")),
        {name: retained[name].seq if name in retained else 0 for name in contents.hash("mark")},
    )


def _check_states(contents: _Contents, records: dict[bytes, _Record]) -> dict[bytes, int]:
    """Where each name waits, by its history; checks that the history fits the record."""
    places = dict.fromkeys(records, READY)
    states = contents.hash("state")
    states.pop(b"@", None)
    assert states.keys() <= records.keys(), "a history without a record"
    assert contents.hash("failure").keys() <= states.keys(), "a failure without a history"
    for name, packed in states.items():
        record = records[name]
        seq, since, status, priority, _, flags, size = _STATE.unpack_from(packed)
        places[name] = status
        if flags & NEWER:
            assert status == INFLIGHT, f"{name!r}: something newer waits behind a write that is not in flight"
            assert record.seq > seq, f"{name!r}: nothing newer waits"
            continue
        assert (seq, int.from_bytes(since), priority, size, packed[_STATE.size :]) == (
            record.seq, record.since, record.priority, record.charge, record.tenant,
        ), f"{name!r}: the history is another write's"  # fmt: skip
        assert bool(flags & DELETE) == bool(record.flags & 1), f"{name!r}: put or delete?"
        assert flags & SWEPT or status != ALONE, f"{name!r}: set apart without having been swept"
        assert bool(flags & BLOB) == bool(record.flags & 2), f"{name!r}: large or not?"
    for key, status in (("due", DELAYED), ("parked", PARKED), ("alone", ALONE)):
        expected = {name for name, place in places.items() if place == status}
        assert contents.zset(key).keys() == expected, f"{key} and the histories disagree"
    return places


def _check_lanes(
    contents: _Contents, records: dict[bytes, _Record], places: dict[bytes, int]
) -> set[tuple[int, bytes, bytes]]:
    """Returns the flows that are set aside."""
    expected: dict[str, dict[bytes, int]] = {}
    heads: dict[str, dict[bytes, int]] = {}
    for name, place in places.items():
        if place == READY:
            record = records[name]
            bucket, _, key = name.partition(b"/")
            flow = bucket + b"/" + record.tenant
            expected.setdefault(f"lane:{record.priority}:{flow.decode()}", {})[key] = record.since
            is_aside = flow in contents.zset(f"aside:{record.priority}")
            of_flow = heads.setdefault(f"{'aside' if is_aside else 'heads'}:{record.priority}", {})
            of_flow[flow] = min(record.since, of_flow.get(flow, record.since))
    lanes = {key: contents.zsets[key] for key in contents.below("lane:")}
    assert lanes == expected, "the lanes do not hold what is ready"
    found = {key: contents.zsets[key] for start in ("heads:", "aside:") for key in contents.below(start)}
    assert found == heads, "heads, of flows in rotation or set aside"
    for priority in range(4):
        ring = contents.zset(f"ring:{priority}")
        assert ring.keys() == contents.zset(f"heads:{priority}").keys(), f"the ring of priority {priority}"
    aside = {(priority, flow) for priority in range(4) for flow in contents.zset(f"aside:{priority}")}
    assert contents.zset("aside").keys() == {flow + b"%d" % priority for priority, flow in aside}, "aside by name"
    holding = contents.hash("blocks").keys() | contents.hash("ending").keys()
    for _, flow in aside:
        assert holding & {flow, flow.partition(b"/")[0]}, f"{flow!r} is set aside for ever"
    return {(priority, *flow.split(b"/", 1)) for priority, flow in aside}  # type: ignore[misc]


def _check_claims(contents: _Contents, records: dict[bytes, _Record], places: dict[bytes, int]) -> None:
    claims = {key.removeprefix("claim:").encode(): contents.hashes[key] for key in contents.below("claim:")}
    assert claims.keys() == contents.zset("lease").keys(), "leases and claims disagree"
    held: dict[bytes, bytes] = {}
    for token, claim in claims.items():
        assert len(claim) > 1, f"an empty claim: {token!r}"
        assert b"@" in claim, f"a claim without its birth: {token!r}"
        for name, seq in claim.items():
            if name != b"@":
                assert name not in held, f"{name!r} is claimed twice"
                held[name] = seq
    assert held.keys() == {name for name, place in places.items() if place == INFLIGHT}, "claims and histories disagree"
    for name, seq in held.items():
        assert contents.hash("state")[name][:8] == seq, f"{name!r}: another write is claimed"
        assert records[name].seq >= int.from_bytes(seq)


def _check_dead(contents: _Contents) -> dict[bytes, _Record]:
    bodies = contents.hash("dead:body")
    assert bodies.keys() == contents.hash("dead:info").keys() == contents.zset("dead:at").keys(), "dead letters"
    dead = {seq: _Record.parse(body) for seq, body in bodies.items()}
    names: dict[bytes, list[bytes]] = {}
    for seq in sorted(dead):
        info = contents.hash("dead:info")[seq]
        size, length = _INFO.unpack_from(info)[5:]
        assert size == dead[seq].charge, "a dead letter's size"
        assert dead[seq].seq == int.from_bytes(seq), "a dead letter's body is another's"
        names.setdefault(info[_INFO.size : _INFO.size + length], []).append(seq)
    expected = {name: b"".join(seqs) for name, seqs in names.items()}
    assert contents.hash("dead:name") == expected, "the dead letters of a name, oldest first"
    return dead


def _check_blobs(contents: _Contents, records: list[_Record]) -> None:
    """A body that no record names may be there only with an expiry."""
    kept = sorted(blob for blob, ttl in contents.blobs.items() if ttl == -1)
    # A set: a repair and the copy that is retained of it share their large body.
    assert kept == sorted({record.blob for record in records if record.blob is not None}), "large bodies"


def _check_marks(
    contents: _Contents, records: dict[bytes, _Record]
) -> tuple[dict[bytes, _Record], dict[bytes, _Record]]:
    """What is retained of marked names, and what is kept behind a newer write of theirs."""
    marks = contents.hash("mark")
    assert contents.zset("contested").keys() == marks.keys(), "the guard does not see every mark"
    retained, kept = (
        {name: _Record.parse(data) for name, data in contents.hash(key).items()} for key in ("retained", "kept")
    )
    assert retained.keys() <= marks.keys(), "a payload is retained for ever"
    assert kept.keys() <= marks.keys(), "a claimed payload is kept without a mark"
    for name, record in kept.items():
        state = contents.hash("state")[name]
        assert _STATE.unpack_from(state)[5] & NEWER, f"{name!r}: kept although nothing newer waits"
        assert int.from_bytes(state[:8]) == record.seq < records[name].seq, f"{name!r}: another write is kept"
    return retained, kept


def _check_counters(
    contents: _Contents,
    records: dict[bytes, _Record],
    places: dict[bytes, int],
    dead: dict[bytes, _Record],
    aside: set[tuple[int, bytes, bytes]],
    beside: list[_Record],
) -> None:
    def at(place: int) -> list[_Record]:
        return [records[name] for name, found in places.items() if found == place]

    expected = {f"r{priority}": 0 for priority in range(4)}
    for record in at(READY):
        expected[f"r{record.priority}"] += 1
    expected |= {
        f"a{priority}": sum(
            len(contents.zset(f"lane:{priority}:{bucket.decode()}/{tenant.decode()}"))
            for of, bucket, tenant in aside
            if of == priority
        )
        for priority in range(4)
    }
    expected |= {
        **{f"l{priority}": sum(record.priority == priority for record in at(ALONE)) for priority in range(4)},
        "suspended": len(contents.hash("suspended")),
        "blocks": len(contents.hash("blocks")),
        "rb": sum(record.charge for record in at(READY)),
        "delayed": len(at(DELAYED)),
        "inflight": len(at(INFLIGHT)),
        "parked": len(at(PARKED)),
        "items": len(records),
        "bytes": sum(record.charge for record in [*records.values(), *beside]),
        "contested": len(contents.hash("mark")),
        "dead": len(dead),
        "dead_bytes": sum(record.charge for record in dead.values()),
    }
    assert {name: contents.counters[name] for name in expected} == expected, "counters"
