"""A worker's parts in the test's own process, over a real queue: the wiring of the daemon without its threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import redis
from dramatiq.broker import MessageProxy

from penstock.queue.client import Queue
from penstock.queue.results import ClaimReply
from penstock_worker.beats import Beats
from penstock_worker.breaker import Breaker
from penstock_worker.broker import QueueBroker
from penstock_worker.consumer import ClaimConsumer
from penstock_worker.failures import Health
from penstock_worker.held import Held, HeldClaim
from penstock_worker.home_cpu import HomeCpu
from penstock_worker.metrics import Metrics
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores import ObjectInfo, PutRequest, Store, StoreFault
from penstock_worker.sweeper import Sweeper
from penstock_worker.upload import Uploader

SLOTS = 2
POLL = 0.05
"""Seconds a consumer may wait in one look; dramatiq's worker_timeout."""


class Parts:
    """What a consumer needs. ``unfit`` is that of `Held`; ``settings`` replace the defaults."""

    def __init__(
        self, queue: Queue, *, slots: int = SLOTS, unfit: Callable[[], str | None] = lambda: None, **settings: Any
    ) -> None:
        self.queue = queue
        self.settings = WorkerSettings(**{"queue": queue.name, "batch_max_wait": 0.0, **settings})
        self.held = Held(slots, self.settings.memory_budget, unfit)
        self.beats = Beats()
        self.metrics = Metrics()
        self.health = Health()
        self.breaker = Breaker([queue], "this-worker", self.health)
        self.broker = QueueBroker([queue], [queue], self.settings, self.held, self.beats, self.metrics, self.breaker)
        (name,) = self.broker.queue_names
        self.broker.declare_queue(name)
        consumer = self.broker.consume(name, timeout=int(POLL * 1000))
        assert isinstance(consumer, ClaimConsumer)
        self.consumer = consumer

    def uploader(self, store: Store, sweeper: Sweeper) -> Uploader:
        return Uploader(
            [self.queue], store, self.settings, self.held, self.metrics, [sweeper], self.breaker, self.health, HomeCpu()
        )

    def claim(self) -> HeldClaim:
        """The next batch, which must be there by now."""
        claim = self.look()
        assert claim is not None, "nothing was claimed"
        return claim

    def look(self) -> HeldClaim | None:
        message = next(self.consumer)
        return None if message is None else self.claim_of(message)

    def claim_of(self, message: MessageProxy) -> HeldClaim:
        claim = self.held.get(message.kwargs["claim"])
        assert claim is not None
        return claim

    def ack(self, claim: HeldClaim) -> None:
        self.broker.finish(claim.batch.token)


class LostAnswer(Queue):
    """A queue whose next claim is carried out, and whose answer is lost on the way."""

    lose = False

    def claim(
        self,
        tokens: Sequence[str],
        *,
        lease: float,
        max_items: int,
        max_bytes: int,
        max_wait: float,
        budget: int,
        holds_none: bool,
        skip: Iterable[str] = (),
        only_critical: bool = False,
    ) -> ClaimReply:
        reply = super().claim(
            tokens,
            lease=lease,
            max_items=max_items,
            max_bytes=max_bytes,
            max_wait=max_wait,
            budget=budget,
            holds_none=holds_none,
            skip=skip,
            only_critical=only_critical,
        )
        if self.lose:
            self.lose = False
            raise redis.exceptions.ConnectionError("the answer was lost")
        return reply


class CallStore:
    """A store that does with a PUT what a test says; deletes succeed."""

    def __init__(self, put: Callable[[PutRequest], None]) -> None:
        self._put = put
        self.keys: list[str] = []

    def put(self, request: PutRequest, check: Callable[[], None]) -> None:
        check()
        self.keys.append(request.key)
        self._put(request)

    def delete_many(self, bucket: str, keys: Sequence[str], check: Callable[[], None]) -> dict[str, StoreFault]:
        check()
        return {}

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        return None

    def get(self, bucket: str, key: str) -> tuple[ObjectInfo, bytes] | None:
        return None

    def close(self) -> None:
        """Nothing is open."""


def info(**metadata: str) -> ObjectInfo:
    return ObjectInfo(4, "etag", {name.replace("_", "-"): value for name, value in metadata.items()}, None, None)


class Objects(CallStore):
    """A store whose HEAD answers what a test put there, or raises it."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.deleted: list[list[str]] = []
        self.found: Mapping[str, ObjectInfo | Exception] = {}
        self.looked: list[str] = []

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        self.looked.append(key)
        found = self.found.get(key)
        if isinstance(found, Exception):
            raise found
        return found

    def delete_many(self, bucket: str, keys: Sequence[str], check: Callable[[], None]) -> dict[str, StoreFault]:
        check()
        self.deleted.append(list(keys))
        return {}
