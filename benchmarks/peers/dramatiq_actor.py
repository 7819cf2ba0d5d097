"""dramatiq with an actor a write, which uploads by boto3: one worker process, as Penstock's. Messages are JSON, so
bodies travel as base64."""

from __future__ import annotations

import base64

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from benchmarks.bodies import BODY, bodies
from benchmarks.peers.s3 import boto3_put
from benchmarks.peers.serve import REDIS_URL, THREADS, enqueue_verb, serve, worker_process
from benchmarks.watch import drain_rate

dramatiq.set_broker(RedisBroker(url=REDIS_URL))  # type: ignore[no-untyped-call]
_put = boto3_put()


@dramatiq.actor
def store(key: str, body: str) -> None:
    _put(key, base64.b64decode(body))


def send(key: str, body: bytes) -> object:
    return store.send(key, base64.b64encode(body).decode())


def serve_with(*options: str) -> None:
    """Serves both verbs, with a worker that is given these options."""

    def drain(count: int, size: int = BODY) -> float:
        texts = bodies(size)
        for number in range(count):
            send(f"d/{number % 100}/{number}.json", texts[number % len(texts)])
        client = redis.Redis.from_url(REDIS_URL)
        with worker_process(["dramatiq", "benchmarks.peers.dramatiq_actor", *options]):
            # Messages stay in this hash until they are acknowledged.
            return drain_rate(lambda: client.hlen("dramatiq:default.msgs"), count)

    serve(enqueue=enqueue_verb(send), drain=drain)


if __name__ == "__main__":
    serve_with("--processes", "1", "--threads", str(THREADS))
