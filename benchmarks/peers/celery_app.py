"""Celery with a task a write, which uploads by boto3. Messages are JSON, in which Celery encodes bytes as base64."""

from __future__ import annotations

import redis
from celery import Celery

from benchmarks.bodies import BODY, bodies
from benchmarks.peers.s3 import boto3_put
from benchmarks.peers.serve import REDIS_URL, enqueue_verb, serve, worker_process
from benchmarks.watch import drain_rate

app = Celery("benchmarks", broker=REDIS_URL)
_put = boto3_put()


@app.task(name="store")
def store(key: str, body: bytes) -> None:
    _put(key, body)


def serve_with(pool: str, concurrency: int) -> None:
    """Serves both verbs, with a worker of this pool and so many processes or threads."""

    def drain(count: int, size: int = BODY) -> float:
        texts = bodies(size)
        for number in range(count):
            store.delay(f"c/{number % 100}/{number}.json", texts[number % len(texts)])
        client = redis.Redis.from_url(REDIS_URL)
        arguments = ["-A", __name__, "worker", "--pool", pool, "--concurrency", str(concurrency)]
        with worker_process(["celery", *arguments]):
            return drain_rate(lambda: client.llen("celery") + client.hlen("unacked"), count)

    serve(enqueue=enqueue_verb(lambda key, body: store.delay(key, body)), drain=drain)
