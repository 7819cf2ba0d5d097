"""Any order of any calls: the scripts on a real server against `QueueModel`, and the layout against itself."""

from __future__ import annotations

import uuid
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.errors import QueueFull, QueueUnavailable
from penstock.queue.blocks import block
from penstock.queue.enqueue import Prepared
from penstock.queue.names import PRIORITIES
from penstock.queue.results import Batch, Outcome, Settlement
from tests.support.queue import BROKEN, LEASE, PLENTY, START, ShiftedQueue
from tests.support.queue_layout import Seen, check_layout
from tests.support.queue_model import QueueModel
from tests.support.queue_parts import ClaimOptions, Write

MAX_ATTEMPTS = 2  # few, so that many writes run out of them
MAX_AGE = 40.0  # seconds for which a claim is renewed
HELD = 6  # batches whose tokens are remembered, stale ones among them

_WRITES = st.tuples(
    st.sampled_from(["a", "b"]),
    st.sampled_from(["bucket-1", "bucket-2"]),
    st.sampled_from(PRIORITIES),
    st.sampled_from(["", "t"]),
    st.sampled_from(["put", "put", "long", "large", "delete"]),
)
_CALLS = st.lists(st.lists(_WRITES, min_size=1, max_size=4), min_size=1, max_size=3)
_CLAIMS = st.builds(
    ClaimOptions,
    max_items=st.sampled_from([1, 2, 3, 25]),
    max_bytes=st.sampled_from([150, 500, PLENTY]),
    max_wait=st.sampled_from([0, 0, 1.5]),
    budget=st.sampled_from([60, 300, PLENTY, PLENTY]),
    holds_none=st.booleans(),
    batches=st.integers(1, 3),
)
_SETTLES = st.lists(
    st.tuples(
        st.sampled_from([*Outcome, Outcome.RETRY, Outcome.DEAD]),
        st.sampled_from([True, True, False]),
        st.sampled_from([0.0, 0.7, 20.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
_SUBJECTS = st.sampled_from(
    [(None, None), ("bucket-1", None), ("bucket-2", None), ("bucket-1", ""), ("bucket-1", "t"), ("bucket-2", "t")]
)
_REASONS = st.sampled_from(["pause", "breaker"])
Settle = tuple[Outcome, bool, float, bool]
"""Outcome, counted, delay, and whether S3 took the write although that is not known."""
_EVERYTHING = ClaimOptions(25, PLENTY, 0, PLENTY, True, 1)


class QueueMachine(RuleBasedStateMachine):
    """Every rule makes one call; every call is predicted or judged by the model."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.queue = ShiftedQueue(url, f"test-{uuid.uuid4().hex}")
        self.batches: list[Batch] = []
        self.number = 1
        self.sent: tuple[list[list[Prepared]], list[Any]] | None = None
        self.bodies: dict[int, bytes] = {}

    @initialize(items=st.sampled_from([3, 100]), size=st.sampled_from([400, 10_000]), dead=st.sampled_from([90, 400]))
    def limits(self, items: int, size: int, dead: int) -> None:
        self.queue.queue.configure(items=items, size=size, dead_size=dead)
        self.model = QueueModel(MAX_ATTEMPTS, items, size, dead, START)

    # -- producers ----------------------------------------------------------------------------------------------

    @rule(call=_CALLS)
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
                self.bodies |= {seq: write.body for (seq, _), write in zip(expected, group, strict=True)}

    def _make(self, key: str, bucket: str, priority: str, tenant: str, kind: str) -> tuple[Prepared, Write]:
        if kind == "delete":
            return (made := self.queue.delete(key, bucket=bucket, priority=priority, tenant=tenant)), Write.of(
                made, b""
            )
        body = uuid.uuid4().bytes * (12 if kind == "long" else 1)
        made = self.queue.put(key, body, bucket=bucket, priority=priority, tenant=tenant, apart=kind == "large")
        return made, Write.of(made, body)

    @precondition(lambda self: self.sent)
    @rule(write=_WRITES)
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
    @rule(options=_CLAIMS)
    def claim(self, options: ClaimOptions) -> None:
        reply = self.queue.claim(**vars(options))
        self.model.claimed(reply, options, LEASE, self._look().aside)
        self.batches = [*self.batches, *reply.batches][-HELD:]
        for write in (write for batch in reply.batches for write in batch.writes):
            record = write.record()
            body = record.body if record.blob_id is None else self.queue.queue.fetch_blobs([record.blob_id])[0]
            assert body == self.bodies[write.seq]

    @precondition(lambda self: self.model.ready())
    @rule(how=_SETTLES)
    def work(self, how: list[Settle]) -> None:
        """A worker takes what there is and settles it at once."""
        self.claim(_EVERYTHING)
        if self.batches:
            self._settle(self.batches[-1], how)

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data(), how=_SETTLES)
    def settle(self, data: st.DataObject, how: list[Settle]) -> None:
        token = data.draw(st.sampled_from(sorted(self.model.leases)))
        for batch in self.batches:
            if batch.token == token:
                self._settle(batch, how)

    @precondition(lambda self: self.batches)
    @rule(at=st.integers(0, HELD), how=_SETTLES)
    def settle_perhaps_stale(self, at: int, how: list[Settle]) -> None:
        self._settle(self.batches[at % len(self.batches)], how)

    def _settle(self, batch: Batch, how: list[Settle]) -> None:
        settlements, expected = [], []
        for write, (outcome, counted, delay, landed) in zip(batch.writes, how, strict=False):
            settlements.append(Settlement(write.name, outcome, counted, delay, BROKEN))
            if self.model.holds(batch.token, write.name) and (landed or outcome is Outcome.STORED):
                self.model.land(write.name)
            expected.append(self.model.settle(batch.token, write.name, outcome, counted, delay))
        assert self.queue.queue.settle(batch.token, settlements, max_attempts=MAX_ATTEMPTS) == expected

    @precondition(lambda self: self.model.leases)
    @rule(at=st.integers(0, HELD), sent=st.lists(st.booleans(), min_size=6, max_size=6))
    def release(self, at: int, sent: list[bool]) -> None:
        batch = self.batches[at % len(self.batches)]
        names = [write.name for write, was in zip(batch.writes, sent, strict=False) if was]
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
        wait, due, taken_back, dead, more = self.model.sweep(limit)
        seen = self._look()
        assert (swept.wait, swept.due, swept.taken_back, swept.dead) == (wait, due, taken_back, dead)
        assert swept.more == (more or seen.ending)
        self.model.aside = seen.aside

    @precondition(lambda self: self.model.names)
    @rule(seconds=st.sampled_from([0.000_001, 0.7, 1.5, 15, 20, 3600, -0.5, -5]))
    def shift_time(self, seconds: float) -> None:
        self.queue.advance(seconds)
        self.model.now = self.queue.now

    # -- the operator -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.dead)
    @rule(data=st.data(), force=st.booleans())
    def retry_dead(self, data: st.DataObject, force: bool) -> None:
        seqs = data.draw(st.lists(st.sampled_from(sorted(self.model.dead)), min_size=1, max_size=3))
        expected = [self.model.retry_dead(seq, force) for seq in seqs]
        assert self.queue.queue.retry_dead(seqs, force=force) == expected

    @precondition(lambda self: self.model.dead)
    @rule(dead=st.sampled_from([90, 400]))
    def change_dead_limit(self, dead: int) -> None:
        self.queue.queue.configure(dead_size=dead)
        self.model.dead_limit = dead

    @rule(subject=_SUBJECTS, reason=_REASONS)
    def block(self, subject: tuple[str | None, str | None], reason: str) -> None:
        reasons = self.model.blocks.setdefault(_encoded(subject), set())
        assert block(self.queue.queue, *subject, reason=reason) == (reason not in reasons)
        reasons.add(reason)

    @precondition(lambda self: self.model.blocks)
    @rule(data=st.data(), reason=_REASONS, limit=st.sampled_from([1, 200]))
    def unblock(self, data: st.DataObject, reason: str, limit: int) -> None:
        """One step only, as if the command had been killed: sweeps must do the rest."""
        subject = data.draw(st.sampled_from(sorted(self.model.blocks, key=repr)))
        reasons = self.model.blocks[subject]
        name = b"" if subject[0] is None else subject[0] if subject[1] is None else b"/".join(cast("Any", subject))
        removed, _, more = self.queue.queue.run("unblock", limit, name, reason)
        assert removed == (reason in reasons)
        assert more == self._look().ending
        reasons.discard(reason)
        if not reasons:
            del self.model.blocks[subject]

    # -- what must hold after every step ------------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "model"):
            self.model.check(self._look())

    def _look(self) -> Seen:
        return check_layout(self.queue.client, self.queue.prefix)

    def teardown(self) -> None:
        try:
            if hasattr(self, "model"):
                self._drain()
        finally:
            self.queue.close(forget=True)

    def _drain(self) -> None:
        """Everything that waits reaches S3; then each object holds the last accepted write, or that one is dead."""
        self.change_dead_limit(1_000_000)
        for subject, reasons in self.model.blocks.items():
            for reason in reasons:
                self.queue.queue.run("unblock", 1, b"/".join(part for part in subject if part is not None), reason)
        self.model.blocks = {}
        self.model.aside = self._look().aside
        for _ in range(4 * len(self.model.names) + 4):
            if self.model.names:
                self.shift_time(3600)
                self.sweep(200)
                self.work([(Outcome.STORED, True, 0, True)] * len(self.model.names))
        self.agree()
        assert not self.model.names, "the queue does not drain"
        for name, last in self.model.accepted.items():
            assert self.model.stored.get(name) == last or last in self.model.dead


def _encoded(subject: tuple[str | None, str | None]) -> tuple[bytes | None, bytes | None]:
    bucket, tenant = subject
    return None if bucket is None else bucket.encode(), None if tenant is None else tenant.encode()


@pytest.mark.slow
@pytest.mark.timeout(600)  # half a minute on an idle machine
def test_any_order_of_calls_keeps_the_promises_and_the_layout_whole(redis_url: str) -> None:
    # Its annotation asks for a class, its documentation for anything that makes a machine.
    make = cast("type[RuleBasedStateMachine]", lambda: QueueMachine(redis_url))
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=400,
            stateful_step_count=50,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
