"""What producers were promised: every accepted write with its number, and every one of which nobody knows."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from penstock import NotDurable, Producer, QueueUnavailable, Receipt
from tests.support.fault_s3 import Name
from tests.support.worker import BUCKET


@dataclass(frozen=True, slots=True)
class Accepted:
    """``sha256`` is None for a delete; ``at`` is a time of ``time.time``; ``settled`` are the doubts that it ended."""

    seq: int
    sha256: str | None
    at: float
    settled: frozenset[str | None] = frozenset()


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
        return max(self.accepted, key=lambda one: one.seq, default=None)

    def may_be_last(self, seq: int | None, sha256: str | None) -> bool:
        """Whether the object may stand so in the end; a delete has no number."""
        last = self.last
        if last is None and seq is None:
            return True
        if last is not None and sha256 == last.sha256 and seq in (None, last.seq):
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
        return any(sha256 == one.sha256 and seq in (None, one.seq) for one in [*self.accepted, *self.lost])

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
        return Entry([last] if last else [], newer, set(self._reopened), _reopened=set(self._reopened))

    def doubt(self, producer: int, sha256: str | None) -> None:
        self.doubtful.add(sha256)
        self._open.setdefault(producer, set()).add(sha256)


class Ledger:
    """Producers write through it. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Name, Entry] = {}
        self.count = 0
        """Writes that were accepted, each time."""
        self.doubts = 0

    def put(self, producer: Producer, key: str, body: bytes, *, bucket: str = BUCKET, **fields: Any) -> Receipt:
        """`Producer.put`, remembered. Raises what that raises."""
        sha256 = hashlib.sha256(body).hexdigest()
        try:
            receipt = producer.put(key, body, bucket=bucket, **fields)
        except (QueueUnavailable, NotDurable) as error:
            self._doubt(producer, (bucket, key), sha256, error)
            raise
        self._accept(producer, (bucket, key), receipt.seq, sha256)
        return receipt

    def delete(self, producer: Producer, key: str, *, bucket: str = BUCKET, **fields: Any) -> Receipt:
        """`Producer.delete`, remembered. Raises what that raises."""
        try:
            receipt = producer.delete(key, bucket=bucket, **fields)
        except (QueueUnavailable, NotDurable) as error:
            self._doubt(producer, (bucket, key), None, error)
            raise
        self._accept(producer, (bucket, key), receipt.seq, None)
        return receipt

    def put_each(self, producer: Producer, keys: Iterable[str], text: str, **fields: Any) -> list[Receipt]:
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

    def _accept(self, producer: Producer, name: Name, seq: int, sha256: str | None) -> None:
        with self._lock:
            self._entries.setdefault(name, Entry()).accept(id(producer), Accepted(seq, sha256, time.time()))
            self.count += 1

    def _doubt(self, producer: Producer, name: Name, sha256: str | None, error: QueueUnavailable | NotDurable) -> None:
        if isinstance(error, NotDurable) or error.maybe_accepted:
            with self._lock:
                self._entries.setdefault(name, Entry()).doubt(id(producer), sha256)
                self.doubts += 1
