"""Any order of any calls, with requests that reach S3 late: the scripts on a real server against `QueueModel`."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.queue.blocks import block
from penstock.queue.results import Outcome
from tests.support.dead_model import retry_dead
from tests.support.loss_machine import LossMachine
from tests.support.queue_strategies import REASONS, SUBJECTS


class QueueMachine(LossMachine):
    """Operators too, and what must hold after every step and in the end."""

    # -- the operator -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.dead)
    @rule(data=st.data(), force=st.booleans())
    def retry_dead(self, data: st.DataObject, force: bool) -> None:
        seqs = data.draw(st.lists(st.sampled_from(sorted(self.model.dead)), min_size=1, max_size=3))
        expected = [retry_dead(self.model, seq, force) for seq in seqs]
        assert self.queue.queue.retry_dead(seqs, force=force) == expected

    @precondition(lambda self: self.model.dead)
    @rule(dead=st.sampled_from([90, 400]))
    def change_dead_limit(self, dead: int) -> None:
        self.queue.queue.configure(dead_size=dead)
        self.model.dead_limit = dead

    @rule(subject=SUBJECTS, reason=REASONS)
    def block(self, subject: tuple[str | None, str | None], reason: str) -> None:
        reasons = self.model.blocks.setdefault(_encoded(subject), set())
        assert block(self.queue.queue, *subject, reason=reason) == (reason not in reasons)
        reasons.add(reason)

    @precondition(lambda self: self.model.blocks)
    @rule(data=st.data(), reason=REASONS, limit=st.sampled_from([1, 200]))
    def unblock(self, data: st.DataObject, reason: str, limit: int) -> None:
        """One step only, as if the command had been killed: sweeps must do the rest."""
        subject = data.draw(st.sampled_from(sorted(self.model.blocks, key=repr)))
        reasons = self.model.blocks[subject]
        name = b"" if subject[0] is None else subject[0] if subject[1] is None else b"/".join(cast("Any", subject))
        removed, _, more = self.queue.queue.run("unblock", limit, name, reason)
        assert removed == (reason in reasons)
        assert more == self.look().ending
        reasons.discard(reason)
        if not reasons:
            del self.model.blocks[subject]

    # -- what must hold after every step ------------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "model"):
            self.model.check(self.look())
            self.s3.check(self.model.marks.keys(), self.model.settled)

    def teardown(self) -> None:
        try:
            if hasattr(self, "model"):
                self._drain()
        finally:
            self.queue.close(forget=True)

    def _drain(self) -> None:
        """Everything that waits reaches S3, after all that was on its way; then each object holds the last accepted
        write, or that one is dead and the object is no older than what was stored last."""
        self.change_dead_limit(1_000_000)
        for subject, reasons in self.model.blocks.items():
            for reason in reasons:
                self.queue.queue.run("unblock", 1, b"/".join(part for part in subject if part is not None), reason)
        self.model.blocks = {}
        self.model.aside = self.look().aside
        for step in range(4 * len(self.model.names) + 12):
            if step == self.lands_at:
                for request in list(self.s3.network):
                    self.s3.land(request)
            if self.model.names or self.model.marks:
                self.shift_time(self.drain_seconds if step <= self.lands_at else 3600)
                self.sweep(200)
                self.work([(Outcome.STORED, True, 0, True)] * len(self.model.names))
                self.guard_looks(50)
                self.guard_judges()
            self.agree()
        assert not self.model.names, "the queue does not drain"
        assert not self.model.marks, "a mark stays for ever"
        for name, last in self.model.accepted.items():
            # A newer one that Redis has lost may have reached S3, and the other way round.
            newer = {seq for seq in self.lost.get(name, ()) if seq > last}
            right = any(self._holds(name, seq, exactly=True) for seq in {last} | newer)
            if last not in self.model.dead:
                assert right, f"{name!r}: the last accepted write is not what S3 holds"
            elif not right and name not in self.model.forced and name in self.model.settled:
                settled = self.model.settled[name]
                assert self._holds(name, settled, exactly=False), f"{name!r}: S3 is older than what was stored"
        for name, seq in self.stood.items():
            assert self._holds(name, seq, exactly=False), f"{name!r}: an old write won over one that Redis has lost"

    def _holds(self, name: bytes, seq: int, *, exactly: bool) -> bool:
        """Whether the object is what write ``seq`` made of it, or, unless ``exactly``, a newer one."""
        held = self.s3.objects.get(name)
        if held is None or held.is_delete:  # one delete is as good as another
            return seq in self.deletes or (held is not None and not exactly and held.seq > seq)
        return held.seq == seq or (held.seq > seq and not exactly)


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
