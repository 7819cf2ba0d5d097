"""RQ's enqueue of a job a write. Jobs are pickled."""

from __future__ import annotations

from redis import Redis
from rq import Queue

from benchmarks.peers.serve import REDIS_URL, enqueue_verb, serve


def store(key: str, body: bytes) -> None:
    """Only enqueued."""


if __name__ == "__main__":
    queue = Queue(connection=Redis.from_url(REDIS_URL))
    # By name, since RQ takes no function of the main module.
    serve(enqueue=enqueue_verb(lambda key, body: queue.enqueue("benchmarks.peers.rq_job.store", key, body)))
