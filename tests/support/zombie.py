"""A worker that stands still in mid-request with an old write while another worker stores a newer one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock import Producer, Receipt
from tests.support import fault_s3
from tests.support.fault_s3 import FaultS3
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, WorkerProcess

LIMIT = 60.0
"""Seconds, against hangs only."""
WINDOWS = (4.0, 9.0, 20.0)
"""Seconds a signature is good for, by tries. On a machine that stands still for longer the store refuses the old
request, which proves nothing: the scene is played again, more slowly."""
GUARD_AFTER = 1.0
"""Seconds from the end of that window to the guard's look: 60 of the real ones."""
LEASE = 1.8
"""Seconds; more than the one for which a worker that stands still may take another's wake-up."""
TIMEOUT = 0.5
"""Seconds; a request may take one more for its bytes."""
PUT, DELETE = "put", "delete"
AT_THE_STORE, BEFORE_SENDING, STOPPED = "held_at_the_store", "frozen_before_sending", "stopped_while_held"
"""How the old request is left behind: in the network by a frozen worker; signed and checked but not sent by one that
uses boto3; in the network by one that was told to stop and could not wait."""


@dataclass
class Scene:
    """One try, with a key and workers of its own."""

    number: int
    window: float
    producer: Producer
    store: FaultS3
    oracle: Oracle
    fleet: Fleet
    directory: Path

    @property
    def key(self) -> str:
        return f"key-{self.number}"

    @property
    def settings(self) -> dict[str, object]:
        return {
            "lease_seconds": LEASE,
            "batch_max_wait": 0,
            "guard_seconds": self.window + GUARD_AFTER,
            "request_timeout": LIMIT,
        }

    def write(self, kind: str, text: str) -> Receipt:
        if kind == DELETE:
            return self.oracle.ledger.delete(self.producer, self.key)
        return self.oracle.ledger.put(self.producer, self.key, f"{text} of {self.key}".encode())

    def prepare_other(self) -> None:
        """Another worker that does all but begin."""
        self.fleet.launch("--after", str(self._may_begin), **self.settings)

    def let_other_work(self) -> None:
        self._may_begin.touch()

    @property
    def _may_begin(self) -> Path:
        return self.directory / f"begin-{self.number}"

    def landed(self) -> int:
        return len(self.store.versions(self.key, BUCKET))

    def wait_until_landed(self, count: int) -> None:
        wait_until(lambda: self.landed() >= count, LIMIT, f"{count} writes of {self.key} landed")

    def leave_behind(self, kind: str, how: str) -> Callable[[], bool]:
        """Writes, and leaves a request with it behind, in one of the ways above.

        Returns what lets it go on: True when it landed, False when its signature was too old.
        """
        if how == BEFORE_SENDING:
            go_on = self.stop_at("before_send", kind, "boto3").thaw
        else:
            go_on = self._hold(kind, self._freeze if how == AT_THE_STORE else self._terminate)
        return lambda: self.lands(go_on)

    def land_after_timeout(self, *options: str) -> tuple[WorkerProcess, bool]:
        """A worker gives up on the old write, stores the new one, and then the old one lands: True unless too old."""
        worker = self.fleet.start(*options, **{**self.settings, "request_timeout": TIMEOUT})
        gate = self.store.gate()
        with self.store.broken(fault_s3.held(gate, prefix=self.key)):
            self.write(PUT, "the old one")
            wait_until(lambda: gate.held, LIMIT, "the request is under way")
        self.write(PUT, "the new one")
        self.wait_until_landed(1)
        assert worker.events("write_failed")[0]["code"] == "Timeout"
        return worker, self.lands(gate.open)

    def lands(self, go_on: Callable[[], None]) -> bool:
        """Lets the old request go on: True when it landed, False when its signature was too old."""
        before, refused = self.landed(), self.store.hits(fault_s3.TOO_OLD)
        go_on()
        wait_until(lambda: self.landed() > before or self.store.hits(fault_s3.TOO_OLD) > refused, LIMIT, "it came")
        return self.landed() > before

    @property
    def zombie(self) -> str:
        """The access key of the worker that stands still."""
        return f"zombie-{self.number}"

    def _hold(self, kind: str, end: Callable[[WorkerProcess], Callable[[], None]]) -> Callable[[], None]:
        gate = self.store.gate()
        worker = self.fleet.start(**self.settings, stop_timeout=0.1, AWS_ACCESS_KEY_ID=self.zombie)
        with self.store.broken(fault_s3.held(gate, access_key=self.zombie)):
            self.write(kind, "the old one")
            wait_until(lambda: gate.held, LIMIT, "the request is under way")
        wake = end(worker)

        def go_on() -> None:
            wake()
            gate.open()

        return go_on

    def _freeze(self, worker: WorkerProcess) -> Callable[[], None]:
        worker.freeze()
        return worker.thaw

    def _terminate(self, worker: WorkerProcess) -> Callable[[], None]:
        worker.terminate()
        assert worker.wait() == 0
        return lambda: None

    def stop_at(self, step: str, kind: str, engine: str) -> WorkerProcess:
        """Writes; returns a worker that stands at this step with it."""
        options = ("--at", step, "--signal", "SIGSTOP")
        zombie = self.fleet.start(*options, **self.settings, s3_engine=engine, AWS_ACCESS_KEY_ID=self.zombie)
        self.write(kind, "the old one")
        wait_until(lambda: is_stopped(zombie), LIMIT, "the worker stands")
        return zombie


def play(
    scene: Callable[[Scene], bool], producer: Producer, store: FaultS3, oracle: Oracle, fleet: Fleet, directory: Path
) -> Scene:
    """Plays a scene until it says that the old request landed on the newer write; returns that try."""
    for number, window in enumerate(WINDOWS):
        store.signature_window = window
        one = Scene(number, window, producer, store, oracle, fleet, directory)
        one.prepare_other()
        if scene(one):
            return one
        oracle.wait_until_drained()
        fleet.stop()
    raise AssertionError("the old request was too late each time")


def is_stopped(worker: WorkerProcess) -> bool:
    with open(f"/proc/{worker.process.pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(") ")[2].startswith("T")
