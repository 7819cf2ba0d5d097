"""What producers were promised: every accepted write with its number, and every one of which nobody knows."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from penstock import NotDurable, QueueUnavailable, Receipt
from tests.support.fault_s3 import Name
from tests.support.producers import AnyProducer
from tests.support.worker import BUCKET


@dataclass(frozen=True, slots=True)
class Accepted:
    """``seq`` is 0 for a write that was spooled: it had no number then. ``sha256`` is None for a delete.

    Its call began and ended (``at``) at times of ``time.time``: of two that did not overlap the later one is the newer.
    ``settled`` are the doubts that it ended.
    """

    seq: int
    sha256: str | None
    at: float
    settled: frozenset[str | None] = frozenset()
    began: float = 0.0


@dataclass(slots=True)
class Entry:
    """What is known of one name."""

    accepted: list[Accepted] = field(default_factory=list)
    lost: list[Accepted] = field(default_factory=list)
    """Accepted by a Redis that has forgotten them since."""
    doubtful: set[str | None] = field(default_factory=set)
    """Writes whose call ended without an answer: they may have been accepted."""
    _open: dict[int, set[str | None]] = field(default_factory=dict)
    """Those by producer that no later accepted write of it to this name has settled."""
    _reopened: set[str | None] = field(default_factory=set)
    """Those that were settled by a write which Redis has forgotten since."""

    @property
    def last(self) -> Accepted | None:
        """The one with the highest number."""
        return max(self.accepted, key=lambda one: one.seq, default=None)

    @property
    def newest(self) -> list[Accepted]:
        """Those that none follows: the last, or where some were spooled, perhaps several whose calls overlapped."""
        highest = max((one.seq for one in self.accepted), default=0)
        began = max((one.began for one in self.accepted), default=0.0)
        began_spooled = max((one.began for one in self.accepted if not one.seq), default=0.0)
        return [
            one
            for one in self.accepted
            if (began_spooled < one.at if one.seq == highest else not one.seq and began < one.at)
        ]

    def may_be_last(self, seq: int | None, sha256: str | None) -> bool:
        """Whether the object may stand so in the end; a delete has no number."""
        last = self.last
        if last is None and seq is None:
            return True
        if any(sha256 == one.sha256 and (seq is None or one.seq in (0, seq)) for one in self.newest):
            return True
        for one in self.lost:
            if sha256 == one.sha256 and seq in (None, one.seq) and (last is None or one.seq > last.seq):
                return True
        doubted = sha256 in self._reopened or any(sha256 in doubts for doubts in self._open.values())
        return doubted and (last is None or seq is None or seq > last.seq)

    def wrote(self, seq: int | None, sha256: str | None) -> bool:
        """Whether a producer has asked for this, at some time."""
        if sha256 in self.doubtful:
            return True
        every = [*self.accepted, *self.lost]
        return any(sha256 == one.sha256 and (seq is None or one.seq in (0, seq)) for one in every)

    def out_of_order(self, landed: Iterable[tuple[int, str | None]]) -> str | None:
        """What is wrong with the numbers that the writes of puts landed under, or None.

        A write has one number, however often it was sent; and the numbers follow the order of acceptance.
        """
        numbers = Counter(sha256 for _, sha256 in set(landed))
        asked = Counter(one.sha256 for one in [*self.accepted, *self.lost])
        for sha256, count in numbers.items():
            if sha256 not in self.doubtful and count > asked[sha256]:
                return f"{sha256} landed under {count} numbers, and was accepted {asked[sha256]} times"
        of_spooled = {sha256: seq for seq, sha256 in landed if numbers[sha256] == 1 == asked[sha256]}
        known = [(one.seq or of_spooled.get(one.sha256, 0), one) for one in self.accepted if one.sha256 is not None]
        began, before = 0.0, 0
        for seq, one in sorted((pair for pair in known if pair[0]), key=lambda pair: pair[0]):
            if began > one.at:
                return f"{before} was accepted after {seq}"
            if one.began > began:
                began, before = one.began, seq
        return None

    def accept(self, producer: int, one: Accepted) -> None:
        settled = frozenset(self._open.pop(producer, ()))
        self.accepted.append(replace(one, settled=settled) if settled else one)

    def forget(self, gone: Collection[Accepted]) -> None:
        self.accepted = [one for one in self.accepted if one not in gone]
        self.lost += gone
        self._reopened.update(*(one.settled for one in gone))

    def last_only(self) -> Entry:
        """What the next round has to know: the last write, and what may stand in its place."""
        last = self.last
        newer = [one for one in self.lost if last is None or one.seq > last.seq]
        return Entry(self.newest, newer, set(self._reopened), _reopened=set(self._reopened))

    def doubt(self, producer: int, sha256: str | None) -> None:
        self.doubtful.add(sha256)
        self._open.setdefault(producer, set()).add(sha256)


class Ledger:
    """Producers write through it. Safe to share between threads.

    ``journal``: gets a line for each write, which another process's ledger can `take`.
    """

    def __init__(self, journal: TextIO | None = None) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._entries: dict[Name, Entry] = {}
        self.count = 0
        """Writes that were accepted, each time."""
        self.doubts = 0
        self.spooled = 0
        """Of those that were accepted."""

    def put(self, producer: AnyProducer, key: str, body: bytes, *, bucket: str = BUCKET, **fields: Any) -> Receipt:
        """`Producer.put`, remembered. Raises what that raises."""
        sha256, began = hashlib.sha256(body).hexdigest(), time.time()
        try:
            receipt = producer.put(key, body, bucket=bucket, **fields)
        except (QueueUnavailable, NotDurable) as error:
            self._doubt(producer, (bucket, key), sha256, error)
            raise
        self._accept(producer, (bucket, key), receipt.seq, sha256, began)
        return receipt

    def delete(self, producer: AnyProducer, key: str, *, bucket: str = BUCKET, **fields: Any) -> Receipt:
        """`Producer.delete`, remembered. Raises what that raises."""
        began = time.time()
        try:
            receipt = producer.delete(key, bucket=bucket, **fields)
        except (QueueUnavailable, NotDurable) as error:
            self._doubt(producer, (bucket, key), None, error)
            raise
        self._accept(producer, (bucket, key), receipt.seq, None, began)
        return receipt

    def put_each(self, producer: AnyProducer, keys: Iterable[str], text: str, **fields: Any) -> list[Receipt]:
        """One small write of each key; ``text`` and the key make its body."""
        return [self.put(producer, key, f"{text} of {key}".encode(), **fields) for key in keys]

    def entries(self) -> dict[Name, Entry]:
        with self._lock:
            return dict(self._entries)

    def entry(self, name: Name) -> Entry:
        with self._lock:
            return self._entries.get(name) or Entry()

    def forget_between(self, spans: Iterable[tuple[float, float]]) -> int:
        """Redis has lost what it accepted in these times: each of these writes may have become something or not.

        Returns how many there were.
        """
        lost = 0
        with self._lock:
            for entry in self._entries.values():
                gone = [one for one in entry.accepted if any(start <= one.at <= end for start, end in spans)]
                entry.forget(gone)
                lost += len(gone)
        return lost

    def keep_last_only(self) -> None:
        """Forgets what was overtaken, once it was checked: a long run would fill the memory."""
        with self._lock:
            for name, entry in self._entries.items():
                self._entries[name] = entry.last_only()

    def take(self, line: str, *, vague: Collection[str] = (), by: float = 0.0) -> None:
        """A line of another process's journal. A call for a key whose prefix is ``vague`` counts as one that took so
        many seconds longer, so that its order against others is not judged within that time."""
        who, bucket, key, sha256, *accepted = json.loads(line)
        name = (bucket, key)
        if accepted:
            seq, began, at = accepted
            at += by * (key.partition("/")[0] in vague)
            self.note(who, name, Accepted(seq, sha256, at, began=began))
        else:
            self._note_doubt(who, name, sha256)

    def _accept(self, producer: AnyProducer, name: Name, seq: int, sha256: str | None, began: float) -> None:
        self.note(who(producer), name, Accepted(seq, sha256, time.time(), began=began))

    def note(self, who: int, name: Name, one: Accepted) -> None:
        """``who``: the producer's, of all processes'."""
        with self._lock:
            self._entries.setdefault(name, Entry()).accept(who, one)
            self.count += 1
            self.spooled += not one.seq
            self._tell(who, name, one.sha256, one.seq, one.began, one.at)

    def _doubt(
        self, producer: AnyProducer, name: Name, sha256: str | None, error: QueueUnavailable | NotDurable
    ) -> None:
        if isinstance(error, NotDurable) or error.maybe_accepted:
            self._note_doubt(who(producer), name, sha256)

    def _note_doubt(self, who: int, name: Name, sha256: str | None) -> None:
        with self._lock:
            self._entries.setdefault(name, Entry()).doubt(who, sha256)
            self.doubts += 1
            self._tell(who, name, sha256)

    def _tell(self, who: int, name: Name, sha256: str | None, *accepted: float) -> None:
        if self._journal is not None:
            self._journal.write(json.dumps([who, *name, sha256, *accepted]) + "\n")
            self._journal.flush()


def who(producer: AnyProducer) -> int:
    """Of all processes' producers."""
    return os.getpid() << 64 | id(producer)
