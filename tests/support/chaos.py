"""What goes wrong in a soak: faults of the store, and what happens to workers and to Redis, drawn from a seeded die."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.support import fault_s3
from tests.support.fault_s3 import Fault, FaultS3, refusal
from tests.support.fleet import Fleet
from tests.support.soak_redis import SoakRedis
from tests.support.worker import WorkerProcess

ENGINES = ("obstore", "obstore", "boto3")
"""Of the workers, one a slot."""
LONGEST_FREEZE = {"obstore": 3.0, "boto3": 9.0}
"""Seconds, and the lease is 2. obstore signs after the lease was checked: frozen in between, it sends a request with a
fresh date. The guard finds that one only if freeze and `SIGNATURE_WINDOW` together are shorter than `GUARD_SECONDS`."""
SIGNATURE_WINDOW = 4.0
GUARD_SECONDS = 8.0
"""The 900 and 960 seconds of the real ones."""
REQUEST_TIMEOUT = 0.5
"""Seconds; a request may take one more for its bytes, and then what lands late lands within the signature's window."""
FAULT_SECONDS = (1.0, 3.0, 8.0, 20.0)
"""How long a fault of the store lasts."""
PAUSE = (0.3, 2.5)
"""Seconds from one thing that goes wrong to the next."""
FAULTS_AT_ONCE = 2
"""Beside the one that is always there."""
ALWAYS = fault_s3.lands_late(1.5, jitter=2.5, rate=0.01)
"""The one thing that no worker can see, and the guard has to mend."""


class Chaos:
    """Keeps a worker in each slot and lets things go wrong. Used from one thread, which calls `step` often.

    ``counts`` has what happened to processes by kind; the store counts its own.
    """

    def __init__(
        self, dice: random.Random, fleet: Fleet, store: FaultS3, redis: SoakRedis, buckets: Sequence[str]
    ) -> None:
        self._dice = dice
        self._fleet = fleet
        self._store = store
        self._redis = redis
        self._buckets = buckets
        self._slots: list[WorkerProcess] = []
        self._frozen: set[int] = set()
        self._leaving: list[WorkerProcess] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._broken: list[Fault] = []
        self.counts: Counter[str] = Counter()
        store.signature_window = SIGNATURE_WINDOW

    def start(self) -> None:
        self._slots = [self._launch(slot) for slot in range(len(ENGINES))]
        self._fleet.wait_until_ready(*self._slots)

    def begin(self) -> None:
        """A round begins: something goes wrong soon."""
        self._broken.append(ALWAYS)
        self._store.start(ALWAYS)
        self._later(self._dice.uniform(*PAUSE), self._happen)

    def step(self) -> None:
        """Does what is due. Raises AssertionError when a worker ended that nobody had told to."""
        now = time.monotonic()
        while self._agenda and self._agenda[0][0] <= now:
            heapq.heappop(self._agenda)[2]()
        for slot, worker in enumerate(self._slots):
            if worker.exited() and worker.events("shards_changed"):
                # Started while Redis was away, it did not know how many there are; then a supervisor starts it anew.
                self.counts["worker started anew"] += 1
                self._fleet.remove(worker)
                self._slots[slot] = self._launch(slot)
            elif worker.exited():
                worker.print_log()
                raise AssertionError(f"the worker of slot {slot} ended by itself, with status {worker.wait()}")
        for worker in list(self._leaving):
            if worker.exited():
                status = worker.wait()
                if status != 0 and not worker.events("shards_changed"):
                    worker.print_log()
                    raise AssertionError(f"a worker that was told to stop ended with status {status}")
                self._leaving.remove(worker)
                self._fleet.remove(worker)

    def end(self) -> None:
        """The round is over: nothing new goes wrong, and what is broken is mended."""
        self._agenda.clear()
        for fault in self._broken:
            self._store.end(fault)
        self._broken.clear()
        for slot in list(self._frozen):
            self._thaw(slot)

    # -- what happens -------------------------------------------------------------------------------------------

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._numbers), action))

    def _happen(self) -> None:
        self._later(self._dice.uniform(*PAUSE), self._happen)
        share = self._dice.random()
        slot = self._dice.randrange(len(self._slots))
        if share < 0.45:
            self._break_store()
        elif share < 0.65:
            self._kill(slot)
        elif share < 0.85:
            self._freeze(slot)
        elif share < 0.95:
            self._stop(slot)
        else:
            self.counts[self._redis.happens] += 1
            self._redis.strike(self._later)

    def _break_store(self) -> None:
        fault = self._fault()
        if len(self._broken) > FAULTS_AT_ONCE or fault in self._broken:
            return
        self._broken.append(fault)
        self._store.start(fault)

        def mend() -> None:
            self._store.end(fault)
            self._broken.remove(fault)

        self._later(self._dice.choice(FAULT_SECONDS), mend)

    def _fault(self) -> Fault:
        bucket, worker = self._dice.choice(self._buckets), f"slot-{self._dice.randrange(len(self._slots))}"
        return self._dice.choice(
            (
                refusal(503, "ServiceUnavailable"),
                refusal(503, "SlowDown", rate=0.5),
                refusal(503, "SlowDown", above=100.0),
                refusal(500, "InternalError", rate=0.2),
                refusal(403, "AccessDenied", bucket=bucket),
                refusal(404, "NoSuchBucket", bucket=bucket),
                refusal(400, "ExpiredToken", access_key=worker),
                fault_s3.reset_before(rate=0.1),
                fault_s3.reset_after(rate=0.1),
                fault_s3.cut_answer(rate=0.1),
                fault_s3.error_after(rate=0.1),
                fault_s3.late_answer(3.0, rate=0.02),
                fault_s3.latency(0.1),
            )
        )

    def _launch(self, slot: int) -> WorkerProcess:
        return self._fleet.launch(
            s3_engine=ENGINES[slot],
            AWS_ACCESS_KEY_ID=f"slot-{slot}",
            guard_seconds=GUARD_SECONDS,
            request_timeout=REQUEST_TIMEOUT,
        )

    def _kill(self, slot: int) -> None:
        self.counts["worker killed"] += 1
        self._frozen.discard(slot)
        self._fleet.kill(self._slots[slot])
        self._slots[slot] = self._launch(slot)

    def _freeze(self, slot: int) -> None:
        if slot in self._frozen:
            return
        self.counts["worker frozen"] += 1
        self._frozen.add(slot)
        worker = self._slots[slot]
        worker.freeze()

        def thaw() -> None:
            if self._slots[slot] is worker:
                self._thaw(slot)

        self._later(self._dice.uniform(0.1, LONGEST_FREEZE[ENGINES[slot]]), thaw)

    def _thaw(self, slot: int) -> None:
        if slot in self._frozen:
            self._frozen.discard(slot)
            self._slots[slot].thaw()

    def _stop(self, slot: int) -> None:
        """SIGTERM, as in a rolling update; one that is still starting is left alone, as it would die of it."""
        worker = self._slots[slot]
        if slot in self._frozen or not worker.events("worker_started"):
            return
        self.counts["worker stopped"] += 1
        worker.terminate()
        self._leaving.append(worker)
        self._slots[slot] = self._launch(slot)
