"""What the queue promises, as a plain Python model: the scripts' effect on names, dead letters and S3.

It predicts every answer but which ready writes a claim picks: there it only judges (`QueueModel.claimed`).
Zombies are left out: who lost his lease sends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Batch, Claimed, ClaimReply, Outcome, Settled
from tests.support.queue_layout import DELAYED, INFLIGHT, PARKED, READY, Seen
from tests.support.queue_parts import ClaimOptions, Lease, Name, Write

MAX_LETTERS_OF_NAME = 16
MAX_DELETES = 1000
BLOCKED_SECONDS = 1.0


@dataclass
class QueueModel:
    max_attempts: int
    items_limit: int
    bytes_limit: int
    dead_limit: int
    now: int
    last: int = 0
    names: dict[bytes, Name] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    dead: dict[int, Write] = field(default_factory=dict)
    accepted: dict[bytes, int] = field(default_factory=dict)
    stored: dict[bytes, int] = field(default_factory=dict)
    """S3: of each object, the number of the write it holds."""
    forced: set[int] = field(default_factory=set)
    blocks: dict[tuple[bytes | None, bytes | None], set[str]] = field(default_factory=dict)
    """Reasons by bucket and tenant, None for all."""
    aside: set[tuple[int, bytes, bytes]] = field(default_factory=set)
    """Flows that claims have set aside: not predicted, but looked up, and judged by the layout's check."""

    # -- enqueue ------------------------------------------------------------------------------------------------

    def enqueue(self, group: Sequence[Write]) -> list[tuple[int, bool]] | str:
        """What the group is answered: sequence numbers, or the limit it would cross."""
        newest = {write.name: write for write in group}
        added = sum(name not in self.names for name in newest)
        size = sum(write.charge - self._charge(name) for name, write in newest.items())
        if added and len(self.names) + added > self.items_limit:
            return "items"
        if size > 0 and self.size + size > self.bytes_limit:
            return "bytes"
        return [self._accept(write) for write in group]

    @property
    def size(self) -> int:
        return sum(name.write.charge for name in self.names.values())

    def _charge(self, name: bytes) -> int:
        return self.names[name].write.charge if name in self.names else 0

    def _accept(self, write: Write) -> tuple[int, bool]:
        self.last = max(self.last + 1, self.now)
        write = replace(write, seq=self.last, since=self.now)
        self.accepted[write.name] = self.last
        entry = self.names.get(write.name)
        if entry is None:
            self.names[write.name] = Name(write)
            return self.last, False
        if entry.place == INFLIGHT and entry.claimed == entry.write:
            entry.write = write
            return self.last, False
        entry.write = replace(write, since=entry.write.since, priority=min(write.priority, entry.write.priority))
        if entry.place != INFLIGHT:
            entry.promote()
        return self.last, True

    # -- claim --------------------------------------------------------------------------------------------------

    def ready(self) -> list[Write]:
        return [name.write for name in self.names.values() if name.place == READY]

    def available(self) -> list[Write]:
        return [write for write in self.ready() if write.flow not in self.aside]

    def blocked(self, bucket: bytes, tenant: bytes) -> bool:
        return not {(None, None), (bucket, None), (bucket, tenant)}.isdisjoint(self.blocks)

    def _full(self, options: ClaimOptions) -> bool:
        waiting = self.available()
        if len(waiting) >= options.max_items:
            return True
        return not self.aside and sum(write.charge for write in waiting) >= options.max_bytes

    def due_in(self, options: ClaimOptions) -> float | None:
        """Seconds until a batch is due, 0 when one is, None when nothing waits."""
        waiting = self.available()
        if not waiting or (None, None) in self.blocks:
            return None
        if self._full(options) or any(write.priority == 0 for write in waiting):
            return 0
        oldest = min(write.since for write in waiting)
        return max(0, math.ceil((oldest + round(options.max_wait * 1e6) - self.now) / 1000)) / 1000

    def claimed(
        self, reply: ClaimReply, options: ClaimOptions, lease: float, aside: set[tuple[int, bytes, bytes]]
    ) -> None:
        """Judges a claim's answer and takes it over. ``aside``: the flows that are set aside after it."""
        wait = self.due_in(options)
        if wait != 0:
            assert (reply.batches, reply.wait, aside) == ([], wait, self.aside)
            return
        met = aside - self.aside
        assert all(self.blocked(bucket, tenant) for _, bucket, tenant in met), "set aside without a block"
        assert len(reply.batches) <= options.batches
        budget, fresh = options.budget, options.holds_none
        for number, batch in enumerate(reply.batches):
            assert number == 0 or self._full(options), "a further batch that is not full"
            self._judge_batch(batch, options)
            for write in batch.writes:
                assert write.size <= budget or fresh, "more bytes than the worker can hold"
                budget, fresh = budget - write.size, False
            self._take(batch, lease)
        self.aside = aside
        wait = self.due_in(options)
        if not reply.batches and wait == 0:
            assert any(write.charge > budget for write in self.available()), "due, and nothing came"
            assert not fresh
            assert reply.wait == BLOCKED_SECONDS
            return
        assert reply.batches or met, "due, and nothing came"
        assert reply.wait == wait or (wait == 0 and reply.wait == BLOCKED_SECONDS)

    def _judge_batch(self, batch: Batch, options: ClaimOptions) -> None:
        assert batch.writes, "an empty batch"
        assert len({write.name for write in batch.writes}) == len(batch.writes)
        assert batch.size <= options.max_bytes or len(batch.writes) == 1
        units = sum(options.max_items if write.is_delete else MAX_DELETES for write in batch.writes)
        assert units <= options.max_items * MAX_DELETES
        flows: dict[tuple[int, bytes, bytes], list[Write]] = {}
        for write in self.available():
            flows.setdefault(write.flow, []).append(write)
        for writes in flows.values():
            writes.sort(key=lambda write: write.age_order)
        for claimed in batch.writes:
            flow = (claimed.priority, claimed.name.partition(b"/")[0], claimed.tenant)
            assert not self.blocked(flow[1], flow[2]), "a blocked write was claimed"
            assert flows[flow].pop(0).name == claimed.name, "not the oldest of its flow"
            self._judge_write(claimed)

    def _judge_write(self, claimed: Claimed) -> None:
        entry = self.names[claimed.name]
        assert entry.place == READY
        assert claimed.attempts == entry.attempts + 1 <= self.max_attempts
        write = entry.write
        assert (claimed.seq, claimed.since, claimed.size) == (write.seq, write.since, write.charge)
        assert claimed.is_delete == write.is_delete

    def _take(self, batch: Batch, lease: float) -> None:
        names = [write.name for write in batch.writes]
        self.leases[batch.token] = Lease(self.now + round(lease * 1e6), self.now, names)
        for name in names:
            entry = self.names[name]
            entry.place, entry.claimed, entry.token = INFLIGHT, entry.write, batch.token
            entry.attempts += 1

    # -- the end of a claim -------------------------------------------------------------------------------------

    def holds(self, token: str, name: bytes) -> bool:
        return token in self.leases and name in self.leases[token].names

    def land(self, name: bytes) -> None:
        """S3 now holds the claimed write."""
        write = self.names[name].claimed
        assert write is not None
        if write.seq not in self.forced:
            assert write.seq >= self.stored.get(name, 0), "an older write lands over a newer one"
        self.stored[name] = write.seq

    def settle(self, token: str, name: bytes, outcome: Outcome, counted: bool, delay: float) -> Settled:
        if not self.holds(token, name):
            return Settled.LEASE_LOST
        self._leave_claim(token, name)
        entry = self.names[name]
        assert entry.claimed is not None
        if outcome is Outcome.STORED:
            seq = entry.claimed.seq
            self.dead = {old: write for old, write in self.dead.items() if write.name != name or old >= seq}
            if entry.claimed == entry.write:
                del self.names[name]
            else:
                entry.promote()
            return Settled.STORED
        if entry.claimed != entry.write:
            entry.promote()
            return Settled.SUPERSEDED
        spent = counted and outcome is not Outcome.NEVER_SENT and entry.attempts >= self.max_attempts
        if outcome is Outcome.DEAD or spent:
            return self._bury(entry)
        if not counted or outcome is Outcome.NEVER_SENT:
            entry.attempts = max(0, entry.attempts - 1)
        if outcome is Outcome.RETRY:
            entry.place, entry.due = DELAYED, self.now + round(delay * 1e6)
            return Settled.DELAYED
        entry.place = READY
        return Settled.READY

    def _leave_claim(self, token: str, name: bytes) -> None:
        self.leases[token].names.remove(name)
        if not self.leases[token].names:
            del self.leases[token]

    def _bury(self, entry: Name) -> Settled:
        write = entry.write
        if sum(dead.charge for dead in self.dead.values()) + write.charge > self.dead_limit:
            entry.place = PARKED
            return Settled.PARKED
        self.dead[write.seq] = write
        of_name = sorted(seq for seq, dead in self.dead.items() if dead.name == write.name)
        for seq in of_name[:-MAX_LETTERS_OF_NAME]:
            del self.dead[seq]
        del self.names[write.name]
        return Settled.DEAD

    def release(self, token: str, sent: Sequence[bytes]) -> tuple[int, int, int]:
        settled = []
        for name in list(self.leases[token].names) if token in self.leases else []:
            outcome = Outcome.MAYBE_SENT if name in sent else Outcome.NEVER_SENT
            settled.append(self.settle(token, name, outcome, True, 0))
        given, superseded = settled.count(Settled.READY), settled.count(Settled.SUPERSEDED)
        return given, superseded, len(settled) - given - superseded

    def renew(self, token: str, lease: float, max_age: float) -> str:
        if token not in self.leases:
            return "0"
        if self.now - self.leases[token].birth > round(max_age * 1e6):
            return "c"
        self.leases[token].deadline = self.now + round(lease * 1e6)
        return "1"

    def sweep(self, limit: int) -> tuple[float | None, int, int, int, bool]:
        """(wait, due, taken back, dead or parked, more)"""
        delayed = [name for name in self.names.values() if name.place == DELAYED and name.due <= self.now]
        delayed = sorted(delayed, key=lambda name: (name.due, name.write.name))[:limit]
        for name in delayed:
            name.place = READY
        back = dead = 0
        while len(delayed) + back < limit:
            expired = [(lease.deadline, token) for token, lease in self.leases.items() if lease.deadline <= self.now]
            if not expired:
                break
            token = min(expired)[1]
            back += len(self.leases[token].names)
            dead += self.release(token, list(self.leases[token].names))[2]
        parked = [name for name in self.names.values() if name.place == PARKED]
        for name in sorted(parked, key=lambda name: (name.write.since, name.write.name))[:limit]:
            if self._bury(name) is Settled.PARKED:
                break
            dead += 1
        times = [name.due for name in self.names.values() if name.place == DELAYED]
        times += [lease.deadline for lease in self.leases.values()]
        wait = max(0, math.ceil((min(times) - self.now) / 1000)) / 1000 if times else None
        return wait, len(delayed), back, dead, bool(times) and min(times) <= self.now

    def retry_dead(self, seq: int, force: bool) -> str:
        if seq not in self.dead:
            return "-"
        write = self.dead[seq]
        if write.name in self.names:
            return "s" if self.names[write.name].write.seq > seq else "w"
        if not force and any(other > seq and dead.name == write.name for other, dead in self.dead.items()):
            return "n"
        if len(self.names) + 1 > self.items_limit or self.size + write.charge > self.bytes_limit:
            return "f"
        if force:
            self.forced.add(seq)
        del self.dead[seq]
        self.names[write.name] = Name(write)
        return "q"

    # -- the promises -------------------------------------------------------------------------------------------

    def check(self, seen: Seen) -> None:
        """What Redis holds is what the model holds; so nothing was lost and nothing made up."""
        expected = {
            name: (entry.place, entry.write.seq, entry.write.since, entry.write.priority)
            for name, entry in self.names.items()
        }
        assert seen.names == expected
        assert seen.dead == self.dead.keys()
        self.aside = seen.aside
        for name, last in self.accepted.items():
            kept = name in self.names or last in self.dead
            assert kept or self.stored.get(name) == last, f"{name!r}: the last accepted write is nowhere"

    def ready_by_priority(self) -> dict[str, int]:
        waiting = [write.priority for write in self.ready()]
        return {name: waiting.count(number) for number, name in enumerate(PRIORITIES)}
