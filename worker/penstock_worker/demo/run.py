"""The demo's work on servers that run: enqueue, wait until the queue is empty, read all back."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import redis
from botocore.exceptions import BotoCoreError, ClientError

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.results import Stats
from penstock_worker.demo.enqueue import Enqueued, Feeder
from penstock_worker.demo.files import BUCKET, Found
from penstock_worker.demo.interrupt import LOOK_SECONDS, Interrupts
from penstock_worker.demo.plan import plan
from penstock_worker.demo.process import ServerError
from penstock_worker.demo.progress import Display, View
from penstock_worker.demo.scrape import WorkerNumbers, scrape
from penstock_worker.demo.stack import Stack
from penstock_worker.demo.summary import Summary
from penstock_worker.demo.verify import Verified, Verifier

QUEUE = "default"
CALL_SECONDS = 10.0
"""Time limit of a call to Redis: the demo's servers share what may be a small machine."""
STALL_SECONDS = 120.0
"""The queue must shrink within this time. Longer than a lease and a backoff; a healthy run shrinks it every second."""
COUNTED_SECONDS = 10.0
"""The worker counts a batch right after it has told Redis."""


class Run:
    """One demo on a started `Stack`. Used by the main thread, once."""

    def __init__(self, stack: Stack, display: Display, interrupts: Interrupts, max_bytes: int) -> None:
        self._stack = stack
        self._display = display
        self._interrupts = interrupts
        self._max_bytes = max_bytes
        self._client = open_client(stack.redis.url, CALL_SECONDS)
        self._queue = Queue(self._client, QUEUE)
        self._began = time.monotonic()
        self._planned = 0

    def run(self, directory: Path, found: Found) -> Summary:
        """Raises ServerError, PenstockError and `Stopped`."""
        try:
            enqueued = self._enqueue(found)
            self._drain()
            seconds = time.monotonic() - self._began
            stats, numbers = self._final_numbers()
            verified = self._verify(enqueued)
        except redis.exceptions.RedisError as error:
            raise self._broken("Redis does not answer", error) from error
        except (BotoCoreError, ClientError) as error:
            raise self._broken("S3 does not answer as it should", error) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._broken("the worker's /metrics does not answer", error) from error
        finally:
            self._client.close()
        return Summary(directory, found, enqueued, stats, numbers, verified, seconds, self._stack.sidecar)

    def _enqueue(self, found: Found) -> Enqueued:
        tasks = plan(found.sources)
        self._planned = sum([task.writes for task in tasks])
        self._display.status("enqueueing")
        self._began = time.monotonic()
        with Producer(self._stack.redis.url, bucket=BUCKET, queue=QUEUE, timeout=CALL_SECONDS) as producer:
            feeder = Feeder(producer, tasks, self._max_bytes, self._interrupts.check)
            return self._interrupts.meanwhile(feeder.run, self._look)

    def _drain(self) -> None:
        """Waits until nothing is ready, delayed or in flight, as long as that becomes less."""
        fewest, since = None, time.monotonic()
        while True:
            left = self._look().unfinished
            if left == 0:
                return
            if fewest is None or left < fewest:
                fewest, since = left, time.monotonic()
            if time.monotonic() - since > STALL_SECONDS:
                raise ServerError(
                    f"nothing was uploaded for {STALL_SECONDS:g} s, {left:,} writes are left; the worker's log ends:\n"
                    + self._stack.worker_log_tail()
                )
            self._interrupts.wait(LOOK_SECONDS)

    def _final_numbers(self) -> tuple[Stats, WorkerNumbers]:
        deadline = time.monotonic() + COUNTED_SECONDS
        while True:
            stats, numbers = self._queue.stats(), scrape(self._stack.sidecar)
            to_end = sum(stats.accepted.values()) - sum(stats.coalesced.values())
            if numbers.ended + stats.parked >= to_end or time.monotonic() > deadline:
                return stats, numbers
            self._interrupts.wait(LOOK_SECONDS)

    def _verify(self, enqueued: Enqueued) -> Verified:
        client = self._stack.s3.client()
        try:
            verifier = Verifier(client, BUCKET, enqueued.expected, self._interrupts.check)
            return self._interrupts.meanwhile(verifier.run, lambda: self._look(verifier))
        finally:
            client.close()

    def _look(self, verifier: Verifier | None = None) -> Stats:
        self._stack.require_alive()
        stats, numbers = self._queue.stats(), scrape(self._stack.sidecar)
        verified, to_verify = (verifier.result.looked_at, verifier.total) if verifier else (0, 0)
        seconds = time.monotonic() - self._began
        self._display.show(View(self._planned, stats, numbers.ended, seconds, verified, to_verify))
        return stats

    def _broken(self, what: str, error: Exception) -> ServerError:
        self._stack.require_alive()  # it may say more
        return ServerError(f"{what}: {error}")
