"""Producers, workers, the guard and S3 in any order: half of the queue's state machine."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from penstock.errors import QueueFull, QueueUnavailable
from penstock.queue.contested import Contested, Verdict, due, judge
from penstock.queue.enqueue import Prepared
from penstock.queue.results import Batch, Outcome, Settlement
from penstock_worker import guard
from tests.support import guard_model
from tests.support.claim_model import judge_claim
from tests.support.guard_model import guard_due
from tests.support.queue import BROKEN, LEASE, START, ShiftedQueue
from tests.support.queue_layout import Seen, check_layout
from tests.support.queue_model import QueueModel
from tests.support.queue_parts import ClaimOptions, Write
from tests.support.queue_strategies import CALLS, CLAIMS, EVERYTHING, SETTLES, WRITES, Settle
from tests.support.s3_model import S3Model

MAX_ATTEMPTS = 2  # few, so that many writes run out of them
MAX_AGE = 40.0  # seconds for which a claim is renewed
HELD = 6  # batches whose tokens are remembered, stale ones among them
STEP_BACK = 10.0  # seconds that Redis's clock is set back at most: within what the guard's window allows for
HOLD, BUSY, RECHECK = 60.0, 5.0, 5.0


class WorkersMachine(RuleBasedStateMachine):
    """Every rule makes one call, which is predicted or judged by the model, or moves S3 or time."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.queue = ShiftedQueue(url, f"test-{uuid.uuid4().hex}")
        self.batches: list[Batch] = []
        self.number = 1
        self.sent: tuple[list[list[Prepared]], list[Any]] | None = None
        self.bodies: dict[int, bytes] = {}
        self.deletes: set[int] = set()
        self.s3 = S3Model(START)
        self.looks: list[tuple[Contested, int, Verdict]] = []
        self.epochs: dict[str, int] = {}  # by token, as its claim was told
        self.given: dict[bytes, set[int]] = {}  # by name, all numbers ever

    @initialize(
        items=st.sampled_from([3, 100]),
        size=st.sampled_from([400, 10_000]),
        dead=st.sampled_from([90, 400]),
        lands_at=st.integers(0, 4),
        drain_seconds=st.sampled_from([0, 961, 3600]),
    )
    def limits(self, items: int, size: int, dead: int, lands_at: int, drain_seconds: float) -> None:
        self.lands_at, self.drain_seconds = lands_at, drain_seconds
        self.queue.queue.configure(items=items, size=size, dead_size=dead)
        self.model = QueueModel(MAX_ATTEMPTS, items, size, dead, START)

    # -- producers ----------------------------------------------------------------------------------------------

    @rule(call=CALLS)
    def enqueue(self, call: list[list[tuple[str, str, str, str, str]]]) -> None:
        groups: list[list[Prepared]] = []
        writes: list[list[Write]] = []
        for chosen in call:
            made = [self._make(*write) for write in chosen]
            groups.append([prepared for prepared, _ in made])
            writes.append([write for _, write in made])
        self.number += 2
        answers = self.queue.send(groups, number=self.number)
        self.sent = groups, answers
        for group, answer in zip(writes, answers, strict=True):
            expected = self.model.enqueue(group)
            if isinstance(expected, str):
                assert isinstance(answer, QueueFull)
                assert answer.unit == expected
            else:
                assert answer == expected
                self._note_numbers(group, [seq for seq, _ in expected])
                self.bodies |= {seq: write.body for (seq, _), write in zip(expected, group, strict=True)}
                self.deletes |= {seq for (seq, _), write in zip(expected, group, strict=True) if write.is_delete}

    def _note_numbers(self, group: list[Write], seqs: list[int]) -> None:
        for write, seq in zip(group, seqs, strict=True):
            assert seq > max((max(of_name) for of_name in self.given.values()), default=0), "a number was given before"
            self.given.setdefault(write.name, set()).add(seq)

    def _make(self, key: str, bucket: str, priority: str, tenant: str, kind: str) -> tuple[Prepared, Write]:
        if kind == "delete":
            return (made := self.queue.delete(key, bucket=bucket, priority=priority, tenant=tenant)), Write.of(
                made, b""
            )
        body = uuid.uuid4().bytes * (12 if kind == "long" else 1)
        made = self.queue.put(key, body, bucket=bucket, priority=priority, tenant=tenant, apart=kind == "large")
        return made, Write.of(made, body)

    @precondition(lambda self: self.sent)
    @rule(write=WRITES)
    def send_again(self, write: tuple[str, str, str, str, str]) -> None:
        """The last call once more, and another one that was sent before it and arrives only now."""
        assert self.sent is not None
        groups, answers = self.sent
        again = self.queue.send(groups, number=self.number)
        assert [str(answer) for answer in again] == [str(answer) for answer in answers]
        (late,) = self.queue.send([[self._make(*write)[0]]], number=self.number - 1)
        assert isinstance(late, QueueUnavailable)

    # -- workers ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.ready())
    @rule(options=CLAIMS)
    def claim(self, options: ClaimOptions) -> None:
        reply = self.queue.claim(**vars(options))
        judge_claim(self.model, reply, options, LEASE, self.look())
        self.batches = [*self.batches, *reply.batches][-HELD:]
        self.epochs |= {batch.token: batch.epoch for batch in reply.batches}
        for write in (write for batch in reply.batches for write in batch.writes):
            record = write.record()
            body = record.body if record.blob_id is None else self.queue.queue.fetch_blobs([record.blob_id])[0]
            assert body == self.bodies[write.seq]

    @precondition(lambda self: self.model.ready())
    @rule(how=SETTLES)
    def work(self, how: list[Settle]) -> None:
        """A worker takes what there is and settles it at once."""
        self.claim(EVERYTHING)
        if self.batches:
            self._settle(self.batches[-1], how)

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data(), how=SETTLES)
    def settle(self, data: st.DataObject, how: list[Settle]) -> None:
        token = data.draw(st.sampled_from(sorted(self.model.leases)))
        for batch in self.batches:
            if batch.token == token:
                self._settle(batch, how)

    @precondition(lambda self: self.batches)
    @rule(at=st.integers(0, HELD), how=SETTLES)
    def settle_perhaps_stale(self, at: int, how: list[Settle]) -> None:
        self._settle(self.batches[at % len(self.batches)], how)

    def _settle(self, batch: Batch, how: list[Settle]) -> None:
        settlements, expected = [], []
        for write, (outcome, counted, delay, landed) in zip(batch.writes, how, strict=False):
            if outcome is not Outcome.NEVER_SENT and self.is_overtaken(batch.token, write.name, write.seq):
                outcome = Outcome.OVERTAKEN
            request = self.s3.sent(batch.token, write.name)
            if outcome is Outcome.STORED and request is not None and not self.s3.alive(request):
                outcome = Outcome.RETRY  # it arrived nowhere while it could be applied, and S3 says so
            settlements.append(Settlement(write.name, outcome, counted, delay, BROKEN))
            if self.model.holds(batch.token, write.name):
                self._end_request(batch.token, write.name, outcome, landed)
            expected.append(self.model.settle(batch.token, write.name, outcome, counted, delay))
        self.model.settle_ended()
        assert self.queue.queue.settle(batch.token, settlements, max_attempts=MAX_ATTEMPTS) == expected

    def _end_request(self, token: str, name: bytes, outcome: Outcome, landed: bool) -> None:
        """What S3 did with the claim's request, as far as the worker's outcome tells."""
        if outcome not in (Outcome.STORED, Outcome.RETRY_UNKNOWN, Outcome.MAYBE_SENT):
            self.s3.refuse(token, name)
            return
        write = self.model.names[name].claimed
        assert write is not None
        request = self.s3.send(token, write)
        request.over = True
        if outcome is Outcome.STORED or landed:
            self.s3.land(request)

    def is_overtaken(self, token: str, name: bytes, seq: int) -> bool:
        """What a worker finds that looks before it sends, which it has to (rule EPOCH)."""
        if self.s3.sent(token, name) or seq >= self.epochs[token]:
            return False
        found = self.s3.head(name)
        return found is not None and (found.seq or 0) > seq

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data(), sent=st.lists(st.booleans(), min_size=6, max_size=6))
    def send(self, data: st.DataObject, sent: list[bool]) -> None:
        """A worker begins requests, with a live lease (rule LEASE), and may freeze or die before it hears of them."""
        token = data.draw(st.sampled_from(sorted(self.model.leases)))
        lease = self.model.leases[token]
        for name, now in zip(lease.names, sent, strict=False):
            write = self.model.names[name].claimed
            lives = now and self.queue.now < lease.deadline
            if lives and write is not None and not self.is_overtaken(token, name, write.seq):
                self.s3.send(token, write)

    @precondition(lambda self: self.s3.network)
    @rule(at=st.integers(0, 20), lost=st.booleans())
    def land(self, at: int, lost: bool) -> None:
        """A request arrives, however late, or gets lost."""
        request = self.s3.network[at % len(self.s3.network)]
        if not lost:
            self.s3.land(request)
        elif request.over:
            self.s3.network.remove(request)

    @precondition(lambda self: self.model.leases)
    @rule(at=st.integers(0, HELD), sent=st.lists(st.booleans(), min_size=6, max_size=6))
    def release(self, at: int, sent: list[bool]) -> None:
        batch = self.batches[at % len(self.batches)]
        names = [
            write.name
            for write, was in zip(batch.writes, sent, strict=False)
            if (was and not self.is_overtaken(batch.token, write.name, write.seq))
            or self.s3.sent(batch.token, write.name)
        ]
        for name in names:
            if self.model.holds(batch.token, name):
                self._end_request(batch.token, name, Outcome.MAYBE_SENT, False)
        expected = self.model.release(batch.token, names)
        assert self.queue.queue.release(batch.token, max_attempts=MAX_ATTEMPTS, sent=names) == expected

    @precondition(lambda self: self.model.leases)
    @rule()
    def renew(self) -> None:
        tokens = [batch.token for batch in self.batches]
        expected = [self.model.renew(token, LEASE, MAX_AGE) for token in tokens]
        assert self.queue.queue.renew(tokens, lease=LEASE, max_age=MAX_AGE) == expected

    @precondition(lambda self: len(self.model.names) > len(self.model.ready()) or self.model.aside)
    @rule(limit=st.sampled_from([1, 3, 200]))
    def sweep(self, limit: int) -> None:
        swept = self.queue.queue.sweep(max_attempts=MAX_ATTEMPTS, limit=limit)
        wait, ready, taken_back, dead, more = self.model.sweep(limit)
        for request in self.s3.network:
            request.over = request.over or not self.model.holds(request.token, request.write.name)
        seen = self.look()
        assert (swept.wait, swept.due, swept.taken_back, swept.dead) == (wait, ready, taken_back, dead)
        assert swept.more == (more or seen.ending)
        self.model.aside = seen.aside

    @precondition(lambda self: self.model.names or self.model.marks)
    @rule(seconds=st.sampled_from([0.000_001, 0.7, 1.5, 15, 20, 800, 960, 3600, -0.5, -5]))
    def shift_time(self, seconds: float) -> None:
        if self.queue.now + seconds * 1e6 < self.s3.now - STEP_BACK * 1e6:
            return
        if seconds < 0 and self.model.server != self.model.epoch.of:
            return  # an epoch that begins behind the clock of a lost one could give its numbers again: documented
        self.queue.advance(seconds)
        self.model.now = self.queue.now
        self.s3.now = max(self.s3.now, self.queue.now)

    # -- the guard ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.marks)
    @rule(limit=st.sampled_from([1, 50]))
    def guard_looks(self, limit: int) -> None:
        found = due(self.queue.queue, hold=HOLD, busy=BUSY, limit=limit)
        cleared, looks = guard_due(self.model, limit, HOLD, BUSY)
        assert (found.cleared, [(one.name, one.seq) for one in found.names]) == (cleared, looks)
        for one in found.names:
            verdict, foreign = guard.judge(one, self.s3.head(one.name))
            assert not foreign
            self.looks.append((one, self.model.marks[one.name].generation, verdict))

    @precondition(lambda self: self.looks)
    @rule()
    def guard_judges(self) -> None:
        """Perhaps long after the look: rule CAS."""
        expected = [
            guard_model.judge(self.model, one.name, generation, verdict, RECHECK)
            for one, generation, verdict in self.looks
        ]
        answers = judge(self.queue.queue, [(one, verdict) for one, _, verdict in self.looks], recheck=RECHECK)
        assert answers == expected
        self.looks = []

    def look(self) -> Seen:
        return check_layout(self.queue.client, self.queue.prefix)
