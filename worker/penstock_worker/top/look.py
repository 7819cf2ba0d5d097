"""One look at the queue and its workers: a few round trips, each of bounded work whatever the backlog is."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.queue import flows, live, workers
from penstock.queue.flows import Flows
from penstock.queue.results import DeadLetter, Stats
from penstock.queue.sharded import AnyQueue
from penstock.queue.workers import WorkerSeen

DEAD_LETTERS = 20
"""The newest that a look brings: more than fit most screens."""


@dataclass(frozen=True, slots=True)
class Look:
    """``workers`` are those of the last hour, alive or not, by host and process; ``dead`` comes newest first."""

    stats: Stats
    flows: Flows
    workers: list[WorkerSeen]
    dead: list[DeadLetter]
    log_level: str | None

    @property
    def alive(self) -> list[WorkerSeen]:
        return [worker for worker in self.workers if worker.is_alive]


def look(queue: AnyQueue) -> Look:
    """Raises redis.exceptions.RedisError."""
    seen = workers.seen(queue)
    return Look(
        stats=queue.stats(),
        flows=flows.oldest(queue),
        # The living first, and then by name: who beats when must not make the rows change places.
        workers=sorted(seen, key=lambda worker: (not worker.is_alive, worker.facts.host, worker.facts.pid, worker.id)),
        dead=queue.dead_letters(limit=DEAD_LETTERS, newest_first=True),
        log_level=live.read(queue).log_level,
    )
