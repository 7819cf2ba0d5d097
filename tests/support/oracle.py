"""The judge of a run with faults: each accepted write is an obligation.

Producers write through a `Ledger`; when the faults have stopped and the queue has drained, `Oracle.check` says whether
every object is the last accepted write of its key, and nothing else is there. A failure prints the object's history.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import redis

from penstock.queue.dead import DeadFilter, pages
from penstock.queue.results import DeadLetter
from penstock.queue.sharded import AnyQueue
from tests.support.fault_s3 import FaultS3, Name, Version
from tests.support.ledger import Entry, Ledger
from tests.support.wait import wait_until

DRAIN_LIMIT = 90.0
"""Seconds, against hangs only: a write that was put off waits up to half a minute."""
SHOWN = 5
"""Wrong objects whose history is printed."""
HISTORY_SHOWN = 40


@dataclass(slots=True)
class Summary:
    """What a run was. ``overtaken``: how often an old write landed on a newer one; ``repaired``: the objects that this
    happened to, and that are right in the end."""

    accepted: int = 0
    stored: int = 0
    superseded: int = 0
    dead: int = 0
    overtaken: int = 0
    repaired: int = 0
    recovery: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    wrong: int = 0

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items())) or "none"
        return (
            f"accepted {self.accepted}, stored {self.stored}, superseded {self.superseded}, dead {self.dead}, "
            f"overtaken {self.overtaken}, repaired {self.repaired}, lost {self.lost}, wrong {self.wrong}, "
            f"recovery {self.recovery:.1f} s, faults: {faults}"
        )


class Wrong(AssertionError):
    """Objects are not what they have to be."""

    def __init__(self, summary: Summary, text: str) -> None:
        super().__init__(text)
        self.summary = summary


class Oracle:
    """Over one queue and one S3. Used from one thread; the ledger from any."""

    def __init__(self, store: FaultS3, queue: AnyQueue) -> None:
        self.ledger = Ledger()
        self._store = store
        self._queue = queue
        self._began = time.time()

    def wait_until_drained(self, limit: float = DRAIN_LIMIT) -> float:
        """Returns when nothing is ready, delayed, in flight or contested: the seconds that took."""
        began = time.monotonic()

        def drained() -> bool:
            try:
                stats = self._queue.stats()
            except redis.ConnectionError:  # the first use of a connection to a server that was killed since
                return False
            return not stats.unfinished and not stats.contested

        try:
            wait_until(drained, limit, "the queue is drained and nothing is contested")
        except AssertionError:
            print(self._queue.stats())
            raise
        return time.monotonic() - began

    def check(
        self,
        *,
        dead: Collection[Name] = (),
        stands: Mapping[Name, int] | None = None,
        faults: Mapping[str, int] | None = None,
        limit: float = DRAIN_LIMIT,
    ) -> Summary:
        """Waits until the queue is drained, judges, and prints a summary.

        Args:
            dead: the names that have dead letters, and no others have.
            stands: for a name whose newest write is dead: the number of the write that the object is.
            faults: how often each kind must have struck at least for the run to count.
        """
        recovery = self.wait_until_drained(limit)
        stats = self._queue.stats()
        letters = self._dead_letters()
        entries = self.ledger.entries()
        dead_seqs = {letter.seq for letter in letters}
        problems = {
            name: problem
            for name, entry in entries.items()
            if (problem := self._judge(name, entry, dead_seqs, (stands or {}).get(name)))
        }
        for name in self._store.objects.keys() - entries.keys():
            problems[name] = "nobody wrote it"
        summary = self._sum_up(entries, recovery, dead_seqs, problems)
        print(summary)
        for name in list(problems)[:SHOWN]:
            print(self.describe(name, letters))
        if problems:
            raise Wrong(summary, f"{len(problems)} objects are wrong, the first: {next(iter(problems.items()))}")
        assert {(letter.bucket, letter.key) for letter in letters} == set(dead), letters
        assert (stats.unfinished, stats.parked, stats.contested) == (0, 0, 0), stats
        assert (stats.items, stats.bytes) == (0, 0), f"an empty queue has no bytes: {stats}"
        for kind, least in (faults or {}).items():
            hits = self._store.hits(kind)
            assert hits >= least, f"{kind} struck {hits} times, so this says little"
        return summary

    def lost_of_forgotten(self) -> int:
        """Names whose newest write of this round Redis was allowed to forget, and that is not what stands."""
        lost = 0
        for name, entry in self.ledger.entries().items():
            forgotten = [one for one in entry.lost if one.at >= self._began]
            newest = max(forgotten, key=lambda one: one.seq, default=None)
            if newest is None or (entry.last is not None and entry.last.seq > newest.seq):
                continue
            found = self._store.objects.get(name)
            lost += newest.sha256 != (found and found.sha256)
        return lost

    def begin_round(self) -> None:
        """Starts anew after a check, with the last write of each name still due: a long run would fill the memory."""
        self.ledger.keep_last_only()
        self._store.forget_history()
        self._began = time.time()

    def _judge(self, name: Name, entry: Entry, dead_seqs: set[int], stands: int | None) -> str | None:
        """What is wrong with an object, or None."""
        for version in self._store.history.get(name, ()):
            if not entry.wrote(version.seq, version.sha256):
                return f"what landed as {version.seq} was written by nobody"
        landed = [(one.seq, one.sha256) for one in self._store.history.get(name, ()) if one.seq is not None]
        if turned := entry.out_of_order(landed):
            return turned
        found = self._store.objects.get(name)
        if found is not None and hashlib.sha256(found.body).hexdigest() != found.sha256:
            return "the body is not the one of its hash"
        seq, sha256 = (None, None) if found is None else (found.seq, found.sha256)
        if stands is not None:
            return None if seq == stands else f"{seq} stands, and not {stands}"
        last = entry.last
        if last is not None and last.seq in dead_seqs:
            return None  # which one stands then is for the test to say
        if entry.may_be_last(seq, sha256):
            return None
        if found is None:
            return f"lost: {last.seq if last else 'a write'} was accepted, and there is no object"
        return f"{seq} stands, and {last.seq if last else 'nothing'} was accepted last"

    def _dead_letters(self) -> list[DeadLetter]:
        return [letter for page in pages(self._queue, DeadFilter()) for letter in page]

    def _sum_up(
        self, entries: Mapping[Name, Entry], recovery: float, dead_seqs: set[int], problems: Mapping[Name, str]
    ) -> Summary:
        """Of this round's writes."""
        summary = Summary(recovery=recovery, faults=dict(self._store.counts))
        for name, entry in entries.items():
            accepted = [one for one in entry.accepted if one.at >= self._began]
            versions = self._store.history.get(name, ())
            puts = {one.seq for one in versions}
            deletes = [sum(one.sha256 is None for one in group) for group in (versions, accepted)]
            summary.accepted += len(accepted)
            bodies = {one.sha256 for one in versions if one.seq is not None}
            summary.stored += sum(one.seq in puts if one.seq else one.sha256 in bodies for one in accepted)
            summary.stored += min(deletes)  # deletes carry no number
            summary.dead += sum(one.seq in dead_seqs for one in accepted)
            late = _went_back(versions)
            summary.overtaken += late
            summary.repaired += bool(late) and name not in problems
        summary.superseded = max(0, summary.accepted - summary.stored - summary.dead)
        summary.lost = sum(problem.startswith("lost") for problem in problems.values())
        summary.wrong = len(problems) - summary.lost
        return summary

    def describe(self, name: Name, letters: Collection[DeadLetter] = ()) -> str:
        """The history of an object: accepted, landed and dead, by time since the oracle was made."""
        events: list[tuple[float, str]] = []
        for accepted in self.ledger.entry(name).accepted:
            what = "delete" if accepted.sha256 is None else f"put {accepted.sha256[:8]}"
            events.append((accepted.at, f"accepted {what} as {accepted.seq}"))
        for version in self._store.history.get(name, ()):
            what = "delete" if version.sha256 is None else f"put {version.sha256[:8]} as {version.seq}"
            events.append((version.at, f"landed   {what} from {version.by}"))
        for letter in letters:
            if (letter.bucket, letter.key) == name:
                text = f"dead     {letter.seq}: {letter.failure.code} after {letter.attempts} attempts"
                events.append((letter.died_at.timestamp(), text))
        events.sort()
        lines = [f"  {at - self._began:8.3f} s  {text}" for at, text in events[-HISTORY_SHOWN:]]
        return "\n".join([f"{name[0]}/{name[1]}:", *lines])


def _went_back(versions: Collection[Version]) -> int:
    """How often an older write landed on a newer one."""
    newest, count = 0, 0
    for version in versions:
        if version.seq is not None:
            count += version.seq < newest
            newest = max(newest, version.seq)
    return count
