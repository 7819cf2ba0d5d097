"""Redis that loses its last steps, beside all else that the queue's state machine does."""

from __future__ import annotations

import itertools
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.support.queue_machine import WorkersMachine
from tests.support.queue_model import QueueModel
from tests.support.queue_parts import Write

RESTART_SECONDS = 0.1


@dataclass
class _Copy:
    """The queue at one moment: its keys, what it should hold, and the numbers given until then."""

    keys: dict[bytes, tuple[int, bytes]]
    model: QueueModel
    given: dict[bytes, set[int]]


@dataclass
class _Holder:
    """A worker that holds a claim of before the loss, and believes in its lease."""

    token: str
    writes: list[Write]
    deadline: int


class LossMachine(WorkersMachine):
    """A backup is taken now and then, and loaded by another server, whose clock is that of the one before."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.copy: _Copy | None = None
        self.holders: list[_Holder] = []
        self.lost: dict[bytes, set[int]] = {}
        """By name, numbers of writes that Redis has lost."""
        self.stood: dict[bytes, int] = {}
        """By name, the number of an object that stood at a loss, with nothing under way that could take its place."""
        self._servers = (f"server-{number}" for number in itertools.count(1))

    @precondition(lambda self: self.model.epoch.of is not None)  # a queue that lost all is a new one: documented
    @rule()
    def back_up(self) -> None:
        client = self.queue.client
        found = {key: (client.pttl(key), client.dump(key)) for key in self.queue.all_keys() if b"test:" not in key}
        self.copy = _Copy(cast("Any", found), deepcopy(self.model), deepcopy(self.given))

    # Behind the clock of an epoch that was lost itself, numbers could be given twice: documented.
    @precondition(lambda self: self.copy is not None and self.queue.now >= self.s3.now)
    @rule()
    def lose(self) -> None:
        """All that came after the backup is lost."""
        assert self.copy is not None
        before, copy = self.model, self.copy
        self.queue.advance(RESTART_SECONDS)
        self.s3.now = self.queue.now
        keys = [key for key in self.queue.all_keys() if b"test:" not in key]
        if keys:
            self.queue.client.unlink(*keys)
        for key, (ttl, value) in copy.keys.items():
            self.queue.client.restore(key, max(0, ttl), value)
        self.model = deepcopy(copy.model)
        self.model.now = self.queue.now
        self.model.server = next(self._servers)
        self.queue.change_server(self.model.server)
        self.sent = None  # the answer is lost, too
        self._note_what_was_lost(before, copy)

    def _note_what_was_lost(self, before: QueueModel, copy: _Copy) -> None:
        for token, lease in before.leases.items():
            writes = [before.names[name].claimed for name in lease.names]
            self.holders.append(_Holder(token, [write for write in writes if write is not None], lease.deadline))
        for request in self.s3.network:
            known = self.model.holds(request.token, request.write.name)
            request.over = request.lost = request.lost or not known
        for name, seqs in self.given.items():
            self.lost.setdefault(name, set()).update(seqs - copy.given.get(name, set()))
        busy = {request.write.name for request in self.s3.network}
        busy |= {write.name for holder in self.holders for write in holder.writes}
        for name, held in self.s3.objects.items():
            if name not in busy and name not in self.model.forced | before.forced and not held.is_delete:
                self.stood[name] = held.seq

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def holder_sends(self, data: st.DataObject) -> None:
        """A worker whose claim Redis has forgotten, or taken back since, does not know that yet."""
        holder = data.draw(st.sampled_from(self.holders))
        for write in holder.writes:
            if self.queue.now < holder.deadline and not self.is_overtaken(holder.token, write.name, write.seq):
                request = self.s3.send(holder.token, write)
                request.over = request.lost = not self.model.holds(holder.token, write.name)
