"""What the queue promises, as a plain Python model: the scripts' effect on names, dead letters and S3.

It predicts every answer but which writes a claim picks: those `claim_model` judges. S3 is `s3_model`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.results import Batch, Outcome, Settled
from tests.support.dead_model import move_parked
from tests.support.queue_layout import ALONE, DELAYED, INFLIGHT, PARKED, READY, Seen
from tests.support.queue_parts import Epoch, Lease, Mark, Name, Write

MAX_LETTERS_OF_NAME = 16
MAX_DELETES = 1000
BLOCKED_SECONDS = 1.0
CLOCKS_APART, AHEAD = 60_000_000, 10_000_000  # µs


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
    settled: dict[bytes, int] = field(default_factory=dict)
    """Of each name the number of the write that was settled as stored last."""
    marks: dict[bytes, Mark] = field(default_factory=dict)
    generation: int = 0
    alone_turn: bool = False
    stored_at: dict[bytes, int] = field(default_factory=dict)  # by bucket, before the settle that goes on
    stored_now: set[bytes] = field(default_factory=set)
    forced: set[bytes] = field(default_factory=set)  # an operator had an older write stored over a newer one
    blocks: dict[tuple[bytes | None, bytes | None], set[str]] = field(default_factory=dict)  # reasons
    aside: set[tuple[int, bytes, bytes]] = field(default_factory=set)
    """Flows that claims have set aside: not predicted, but looked up."""

    server: str = "first"
    """The server that answers."""
    epoch: Epoch = field(default_factory=Epoch)
    overtaken: dict[bytes, int] = field(default_factory=dict)
    """Of each name the number of the write that was dropped last, because the object was of a newer one."""

    # -- the server ---------------------------------------------------------------------------------------------

    def note_server(self, span: float | None = None) -> None:
        """A producer or, with its lease and the guard's window in seconds, a worker has met the server (rule EPOCH)."""
        epoch = self.epoch
        if epoch.of not in (None, self.server):
            ahead = max(CLOCKS_APART, epoch.seq - epoch.at + AHEAD - (self.now - epoch.at) // 2)
            self.last = max(self.last + AHEAD, self.now + ahead)
            self.generation = max(self.generation, self.last)
            epoch.seq, epoch.at, epoch.until = self.last, self.now, None
        epoch.of = self.server
        if epoch.seq and epoch.until is None and span is not None:
            epoch.until = self.now + round(span * 1e6)

    # -- enqueue ------------------------------------------------------------------------------------------------

    def enqueue(self, group: Sequence[Write]) -> list[tuple[int, bool]] | str:
        """What the group is answered: sequence numbers, or the limit it would cross."""
        self.note_server()
        newest = {write.name: write for write in group}
        added = sum(name not in self.names for name in newest)
        size = sum(write.charge - self._replaced(name) for name, write in newest.items())
        if added and len(self.names) + added > self.items_limit:
            return "items"
        if size > 0 and self.size + size > self.bytes_limit:
            return "bytes"
        return [self._accept(write) for write in group]

    @property
    def size(self) -> int:
        return sum(self._charges(name) for name in {*self.names, *self.marks})

    def _charges(self, name: bytes) -> int:
        entry, mark = self.names.get(name), self.marks.get(name)
        charge = entry.write.charge if entry else 0
        if mark and mark.retained:
            charge += mark.retained.charge
        if entry and mark and entry.place == INFLIGHT and entry.claimed and entry.claimed != entry.write:
            charge += entry.claimed.charge  # rule RETAIN: kept behind the newer one
        return charge

    def _replaced(self, name: bytes) -> int:
        entry = self.names.get(name)
        if entry is None or (name in self.marks and entry.place == INFLIGHT and entry.claimed == entry.write):
            return 0
        return entry.write.charge

    def _accept(self, write: Write) -> tuple[int, bool]:
        epoch = self.epoch  # its numbers follow the clock at a quarter of its pace while they are ahead
        ahead = epoch.seq + (self.now - epoch.at) // 4 if epoch.seq else 0
        self.last = max(self.last + 1, self.now, ahead)
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

    def at(self, place: int) -> list[Name]:
        return [name for name in self.names.values() if name.place == place]

    def ready(self) -> list[Write]:
        return [name.write for name in self.names.values() if name.place in (READY, ALONE)]

    def available(self, *, swept: bool = True) -> list[Write]:
        """What claims may take from the lanes; without those that a claim would set apart, unless ``swept``."""
        writes = [name.write for name in self.at(READY) if swept or not name.swept]
        return [write for write in writes if write.flow not in self.aside]

    def blocked(self, bucket: bytes, tenant: bytes) -> bool:
        return not {(None, None), (bucket, None), (bucket, tenant)}.isdisjoint(self.blocks)

    def take(self, batch: Batch, lease: float) -> None:
        names = [write.name for write in batch.writes]
        self.leases[batch.token] = Lease(self.now + round(lease * 1e6), self.now, names)
        for name in names:
            entry = self.names[name]
            entry.place, entry.claimed, entry.token = INFLIGHT, entry.write, batch.token
            entry.attempts += 1
            if self.epoch.until is not None and self.epoch.until > self.now:
                self.arm(name, self.epoch.until)

    # -- the end of a claim -------------------------------------------------------------------------------------

    def holds(self, token: str, name: bytes) -> bool:
        return token in self.leases and name in self.leases[token].names

    def settle(self, token: str, name: bytes, outcome: Outcome, counted: bool, delay: float) -> Settled:
        if not self.holds(token, name):
            return Settled.LEASE_LOST
        self._leave_claim(token, name)
        entry = self.names[name]
        assert entry.claimed is not None
        if outcome in (Outcome.RETRY_UNKNOWN, Outcome.MAYBE_SENT):
            self.arm(name)
        if outcome is Outcome.STORED:
            self.settled[name] = entry.claimed.seq
            self.stored_now.add(entry.claimed.flow[1])
            answer = self._retain(name, entry.claimed)
            self._done(entry, entry.claimed)
            return answer
        if outcome is Outcome.OVERTAKEN:
            self.overtaken[name] = entry.claimed.seq
            self._done(entry, entry.claimed)
            return Settled.SUPERSEDED
        if entry.claimed != entry.write:
            entry.promote()
            return Settled.SUPERSEDED
        if outcome is Outcome.RETRY_ENVIRONMENT:
            counted = entry.env_fault is not None and self.stored_at.get(entry.write.flow[1], 0) > entry.env_fault
        spent = counted and outcome is not Outcome.NEVER_SENT and entry.attempts >= self.max_attempts
        if outcome is Outcome.DEAD or spent:
            return self.bury(entry)
        if not counted or outcome is Outcome.NEVER_SENT:
            entry.attempts = max(0, entry.attempts - 1)
        if outcome in (Outcome.RETRY, Outcome.RETRY_UNKNOWN, Outcome.RETRY_ENVIRONMENT):
            entry.env_fault = self.now if outcome is Outcome.RETRY_ENVIRONMENT else None
            entry.place, entry.due = DELAYED, self.now + round(delay * 1e6)
            return Settled.DELAYED
        entry.make_ready()
        return Settled.READY

    def _done(self, entry: Name, claimed: Write) -> None:
        older = [seq for seq, dead in self.dead.items() if dead.name == claimed.name and seq < claimed.seq]
        for seq in older:
            del self.dead[seq]
        if claimed == entry.write:
            del self.names[claimed.name]
        else:
            entry.promote()

    def _leave_claim(self, token: str, name: bytes) -> None:
        self.leases[token].names.remove(name)
        if not self.leases[token].names:
            del self.leases[token]

    def has_room_for_dead(self, size: int) -> bool:
        return sum(dead.charge for dead in self.dead.values()) + size <= self.dead_limit

    def bury(self, entry: Name) -> Settled:
        write = entry.write
        if not self.has_room_for_dead(write.charge):
            if entry.place != PARKED:
                entry.place, entry.parked_at = PARKED, write.since
            return Settled.PARKED
        self.dead[write.seq] = write
        of_name = sorted(seq for seq, dead in self.dead.items() if dead.name == write.name)
        for seq in of_name[:-MAX_LETTERS_OF_NAME]:
            del self.dead[seq]
        del self.names[write.name]
        mark = self.marks.get(write.name)
        if mark and mark.retained and mark.retained.seq == write.seq:  # rule KEEP
            mark.retained, mark.generation = None, self.next_generation()
            self.settled.pop(write.name)
        return Settled.DEAD

    def settle_ended(self) -> None:
        """What a call has stored counts for the calls after it."""
        self.stored_at |= dict.fromkeys(self.stored_now, self.now)
        self.stored_now = set()

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
            name.make_ready()
        back = dead = 0
        while len(delayed) + back < limit:
            expired = [(lease.deadline, token) for token, lease in self.leases.items() if lease.deadline <= self.now]
            if not expired:
                break
            token = min(expired)[1]
            back += len(self.leases[token].names)
            for held in self.leases[token].names:
                self.names[held].swept = True
            dead += self.release(token, list(self.leases[token].names))[2]  # rule SWEEP: all may have been sent
        moved, more = move_parked(self, limit)
        times = [name.due for name in self.names.values() if name.place == DELAYED]
        times += [lease.deadline for lease in self.leases.values()]
        wait = max(0, math.ceil((min(times) - self.now) / 1000)) / 1000 if times else None
        return wait, len(delayed), back, dead + moved, more or (bool(times) and min(times) <= self.now)

    # -- the mark and the guard ---------------------------------------------------------------------------------

    def next_generation(self) -> int:
        self.generation += 1
        return self.generation

    def arm(self, name: bytes, deadline: int | None = None) -> None:
        mark = self.marks.setdefault(name, Mark(0))
        mark.deadline = mark.look = max(mark.deadline, deadline or self.now + round(GUARD_SECONDS * 1e6))
        mark.generation = self.next_generation()

    def _retain(self, name: bytes, write: Write) -> Settled:
        mark = self.marks.get(name)
        if mark is None:
            return Settled.STORED
        before, mark.retained, mark.generation = mark.retained, write, self.next_generation()
        return Settled.REPAIRED if before and before.seq == write.seq else Settled.STORED

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
            done = last in (self.settled.get(name), self.overtaken.get(name))
            assert kept or done, f"{name!r}: the last accepted write is nowhere"
        assert seen.retained == {
            name: mark.retained.seq if mark.retained else 0 for name, mark in self.marks.items()
        }, "marks and what is retained"
