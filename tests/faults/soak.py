"""``make soak MINUTES=20 [SEED=n] [REDIS=…] [SHARDS=n]``: the faults of all tests in random mixture, for a while.

In rounds: producers write to cold and hot keys of two buckets while the store fails, three workers are killed, frozen
and stopped, and Redis is killed; then all is mended, the queue drains, and the oracle judges every object there is.
The seed decides what goes wrong and for how long; in when exactly, the machine has its say. It also decides which Redis
it is, where no option does: one that syncs each write, one that loses its last steps, or one that Sentinel watches. Of
the writes that such a one may have lost each may be there or not, and what stands must not be older than all others.

Exit status: 0 clean, 1 when anything was lost, wrong or stuck, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from penstock import Producer
from penstock.queue.reshard import reshard
from penstock.queue.sharded import Clients, ShardedQueue
from tests.support.chaos import Chaos
from tests.support.fault_s3 import FaultS3, Name, refusal
from tests.support.fleet import Fleet
from tests.support.oracle import Oracle, Summary, Wrong
from tests.support.soak_redis import KINDS, SoakRedis, soak_redis
from tests.support.worker import BUCKET
from tests.support.writers import Writers

BUCKETS = (BUCKET, "another-bucket")
ROUND_SECONDS = (20.0, 45.0)
STEP_SECONDS = 0.05
PROGRESS_SECONDS = 10.0
DRAIN_LIMIT = 300.0
"""Seconds until a queue that is not empty is called stuck."""
REDIS_SECONDS = 30.0
PRODUCERS = 3
ATTEMPTS = 200
"""So many that only a write which can never be stored runs out of them, whatever is killed meanwhile."""
BAD = "bad/"
"""Keys that the store refuses for good: they are to be dead letters, and nothing else is."""
BAD_KEYS = 3
ENOUGH_ROUNDS = 8
"""After so many, these must have happened for the run to count."""
PROOF = ("worker killed", "worker frozen", "worker stopped", "landed late", "ServiceUnavailable")
SHARDS = (1, 3)
INTERRUPTED = 130


class Soak:
    """One run. ``total`` sums up the rounds that were judged."""

    def __init__(self, seed: int, store: FaultS3, redis: SoakRedis, queue: ShardedQueue, fleet: Fleet) -> None:
        self._dice = random.Random(seed)
        self._store = store
        self._redis = redis
        self._queue = queue
        self._oracle = Oracle(store, queue)
        self._chaos = Chaos(self._dice, fleet, store, redis, BUCKETS)
        self._began = time.monotonic()
        self._told = self._began
        self._bad: set[Name] = set()
        self._rounds = 0
        self.at_risk = 0
        """Accepted writes that Redis may have forgotten."""
        self.forgotten = 0
        """Those of them that are lost."""
        self.total = Summary()

    def run(self, seconds: float) -> None:
        """Raises AssertionError when something was lost, wrong or stuck."""
        self._store.start(refusal(400, "InvalidTag", prefix=BAD))
        self._chaos.start()
        while time.monotonic() - self._began < seconds:
            self._round()
            self._tell(f"round {self._rounds} is right")
        if self._rounds >= ENOUGH_ROUNDS:
            missing = [kind for kind in (*PROOF, self._redis.happens) if not self.faults[kind]]
            assert not missing, f"this never happened, so the run says little: {', '.join(missing)}"
            assert self.total.overtaken, "no old request landed on a newer write, so the run says little"

    def _round(self) -> None:
        end = time.monotonic() + self._dice.uniform(*ROUND_SECONDS)
        seed = self._dice.randrange(2**32)
        ledger, name = self._oracle.ledger, self._queue.name
        with Writers(self._redis.url, name, ledger, producers=PRODUCERS, buckets=BUCKETS, seed=seed):
            self._write_bad_ones()
            self._chaos.begin()
            while time.monotonic() < end:
                self._chaos.step()
                if time.monotonic() >= self._told + PROGRESS_SECONDS:
                    self._tell(f"accepted {ledger.count}, landed {self._store.landed}, {_counted(self.faults)}")
                time.sleep(STEP_SECONDS)  # the pace of the faults; nothing waits for it
            self._chaos.end()
            self._write_bad_ones()  # those of before may be forgotten
        self.at_risk += ledger.forget_between(self._redis.lost)
        self._redis.lost.clear()
        try:
            self._add(self._oracle.check(dead=self._bad, limit=DRAIN_LIMIT))
        except Wrong as wrong:
            self._add(wrong.summary)
            raise
        self.forgotten += self._oracle.lost_of_forgotten()
        self._oracle.begin_round()
        self._rounds += 1

    def _write_bad_ones(self) -> None:
        with Producer(self._redis.url, queue=self._queue.name, bucket=BUCKET, timeout=REDIS_SECONDS) as producer:
            for bucket in BUCKETS:
                for number in range(BAD_KEYS):
                    self._bad.add((bucket, f"{BAD}{number}"))
                    self._oracle.ledger.put(producer, f"{BAD}{number}", b"%d" % self._rounds, bucket=bucket)

    def _add(self, one: Summary) -> None:
        total = self.total
        for name in ("accepted", "stored", "superseded", "dead", "overtaken", "repaired", "lost", "wrong"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
        total.recovery = max(total.recovery, one.recovery)
        total.faults = self.faults

    @property
    def faults(self) -> Counter[str]:
        return self._store.counts + self._chaos.counts

    def _tell(self, text: str) -> None:
        self._told = time.monotonic()
        minutes, seconds = divmod(int(self._told - self._began), 60)
        print(f"[{minutes:3d}:{seconds:02d}] {text}", flush=True)


def _counted(faults: Counter[str]) -> str:
    return f"{faults.total()} faults of {len(faults)} kinds"


def soak(seed: int, seconds: float, kind: str, shards: int) -> int:
    """The exit status; everything that was started has ended by then."""
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-soak-", ignore_cleanup_errors=True))
        )
        redis = stack.enter_context(soak_redis(kind, directory, random.Random(seed)))
        clients = Clients(redis.url, REDIS_SECONDS, "soak")
        stack.callback(clients.close)
        queue = ShardedQueue(clients, "soak")
        reshard(queue, shards)
        store = stack.enter_context(FaultS3(seed))
        fleet = stack.enter_context(Fleet(redis.url, store.endpoint_url, "soak", max_attempts=ATTEMPTS))
        run = Soak(seed, store, redis, queue, fleet)
        status = 0
        try:
            run.run(seconds)
        except AssertionError as error:
            print(f"FAILED with seed {seed}: {error}")
            status = 1
        except KeyboardInterrupt:
            print("stopped; the round that was under way is not judged")
            status = INTERRUPTED
        fleet.stop()
        print(f"seed {seed}: {run.total}")
        if run.at_risk:
            print(f"Redis may have forgotten {run.at_risk} more: the newest of {run.forgotten} names were lost so")
        return status


def main() -> None:
    parser = argparse.ArgumentParser(description="The faults of all tests in random mixture.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, help="what goes wrong; another one each time without it")
    parser.add_argument("--redis", choices=KINDS, help="what it may lose; by the seed without it")
    parser.add_argument("--shards", type=int, help="of the queue; by the seed without it")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    dice = random.Random(seed)
    kind, shards = dice.choice(KINDS), dice.choice(SHARDS)
    kind, shards = options.redis or kind, options.shards or shards
    print(f"seed {seed}, {options.minutes:g} minutes, Redis: {kind}, shards: {shards}", flush=True)
    sys.exit(soak(seed, options.minutes * 60, kind, shards))


if __name__ == "__main__":
    main()
