"""How the threads of a producer share round trips.

Whoever finds no leader becomes it: it sends what has gathered, gives each waiter its outcome, and when its own is there
hands the lead to the newest waiter. The newest, because it has the most time left: so nobody's call fails because
another caller's time is up. For the same reason a leader who spent time on connecting steps aside for a newer one.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.calls import Caller, Options, late
from penstock.errors import PenstockError, QueueUnavailable
from penstock.queue.commit import Gathered, Group
from penstock.queue.enqueue import Accepted
from penstock.spooling import keep_lost, note_given
from penstock.sync_channel import Channel

if TYPE_CHECKING:
    from penstock.spool.append import Spool

CLOSE_LIMITS = 2
"""How many of a call's time limits ``close`` waits: one for the call under way, one for those that gathered behind."""

Outcome = Accepted | PenstockError


class _Waiter:
    """A caller. The gate opens when its outcome is there, and when it shall lead."""

    __slots__ = ("deadline", "gate", "meanwhile", "outcome")

    def __init__(self, deadline: float, meanwhile: Callable[[], None] | None) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.deadline = deadline
        self.meanwhile = meanwhile
        self.outcome: Outcome | None = None


class GroupCommit:
    """Sends groups of writes to one shard, each as a whole. Safe to share between threads, not between processes.

    What a caller does is undone by what stands in Python's state alone, so an exception at any point (Ctrl-C, a soft
    time limit of Celery's) takes neither the lead nor the connection with it.
    """

    def __init__(self, options: Options, shard: int = 0, shards: int = 1, spool: Spool | None = None) -> None:
        self.caller = Caller(options, shard, shards)
        self._options = options
        self._spool = spool
        self._watch = None if spool is None else spool.flag.watch(shard, shards)
        self._channel = Channel(self.caller)
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._gathered: Gathered[_Waiter] = Gathered()
        self._leader: _Waiter | None = None
        self._closed = False

    def accept(
        self, group: Group, deadline: float | None = None, meanwhile: Callable[[], None] | None = None
    ) -> Accepted:
        """Returns when the group is accepted.

        Args:
            deadline: a time limit that runs already (time.monotonic).
            meanwhile: what to do while Redis works; not done when others wait for the same call.

        Raises:
            QueueFull, QueueUnavailable, QueueMismatch: an error of this caller's own, not shared with others.
            OtherShards: nothing was accepted, because the queue has another number of shards.
        """
        timeout = self._options.timeout
        if deadline is None:
            deadline = time.monotonic() + timeout
        waiter = _Waiter(deadline, meanwhile)
        waiting = False
        try:
            with self._lock:
                if self._closed:
                    raise QueueUnavailable("the producer is closed: make a new one", maybe_accepted=False)
                self._gathered.add(waiter, group)
                if self._leader is None:
                    self._leader = waiter
            # Without the lock: only the leader itself and the one that hands over, who opens the gate then, change it.
            if self._leader is not waiter:
                waiter.gate.acquire(timeout=max(0.0, deadline - time.monotonic()))
            while waiter.outcome is None and self._leader is waiter and time.monotonic() < deadline:
                if self._spool is not None and self._spool.flag.pending:
                    break  # what gathered behind a call that was lost goes behind it
                if not self._channel.ready(deadline) or not self._step_aside(waiter):
                    self._send_gathered(waiter)
            if self._spool is not None and waiter.outcome is None:
                self._await_taken(waiter)
        finally:
            try:
                waiting = self._leave(waiter)
            except BaseException:
                self._leave(waiter)  # an interrupt in the middle of it: done again, it does what is left
                raise
        outcome = waiter.outcome
        if outcome is None:
            raise late(timeout, maybe_accepted=not waiting)
        if isinstance(outcome, PenstockError):
            # A copy, because other threads may raise the same one, and put_many adds to it.
            raise copy.copy(outcome) from outcome.__cause__
        return outcome

    def close(self) -> None:
        """Waits for the calls that run, then closes the connection. Later calls raise QueueUnavailable."""
        with self._lock:
            self._closed = True
            if self._leader is None:
                self._channel.close()
            else:
                # Whoever hands over to nobody closes the connection.
                self._idle.wait_for(lambda: self._leader is None, CLOSE_LIMITS * self._options.timeout)

    def _leave(self, waiter: _Waiter) -> bool:
        """A caller ends. Whether its write still waited, and was never sent."""
        with self._lock:
            waiting = waiter.outcome is None and self._gathered.remove(waiter)
            if self._leader is waiter:
                self._hand_over()
            return waiting

    def _await_taken(self, waiter: _Waiter) -> None:
        """A call under way is spooled as a whole when it fails,  so its callers stay with it: until its leader's time
        limit is over, and the spool has it."""
        with self._lock:
            taken = self._leader is not waiter and waiter.outcome is None and not self._gathered.holds(waiter)
        if taken:
            waiter.gate.acquire(timeout=2 * self._options.timeout)

    def _step_aside(self, leader: _Waiter) -> bool:
        """Hands the lead to the newest, if that has more time left. Then the leader waits as the others do, until its
        outcome is there, its time is up, or it leads again."""
        with self._lock:
            if self._gathered.newest().deadline <= leader.deadline:
                return False
            leader.gate.acquire(blocking=False)  # open still, if it became the leader before it had to wait
            self._hand_over()
        leader.gate.acquire(timeout=max(0.0, leader.deadline - time.monotonic()))
        return True

    def _send_gathered(self, leader: _Waiter) -> None:
        """One call. Its own write may not be in it, when much has gathered.

        Nothing is taken before there is a connection: while there is none, each caller fails by its own time limit, and
        knows that nothing was sent.
        """
        waiters: list[_Waiter] = []
        groups: list[Group] = []
        outcomes: list[Outcome] | None = None
        spool, watch = self._spool, self._watch
        mark = None if watch is None else watch.mark()
        try:
            with self._lock:
                waiters, groups = self._gathered.take()
            meanwhile = leader.meanwhile if waiters == [leader] else None
            outcomes = self._channel.send(groups, leader.deadline, meanwhile)
            if watch is not None:
                note_given(watch, outcomes)
        except PenstockError as error:
            outcomes = [error] * len(groups)
            if spool is not None and mark is not None:
                outcomes = keep_lost(spool, self.caller, mark, groups, error)
        finally:
            if outcomes is None:  # interrupted: it is not known what became of the call, and the others must not hang
                outcomes = [QueueUnavailable("the call was interrupted", maybe_accepted=True)] * len(groups)
            for waiter, outcome in zip(waiters, outcomes, strict=True):
                waiter.outcome = outcome
                if waiter is not leader:
                    waiter.gate.release()

    def _hand_over(self) -> None:
        # Under the lock.
        if self._gathered:
            self._leader = self._gathered.newest()
            self._leader.gate.release()
            return
        self._leader = None
        if self._closed:
            self._channel.close()
            self._idle.notify_all()
