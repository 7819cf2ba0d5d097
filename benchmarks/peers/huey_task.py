"""huey's enqueue of a task a write. Tasks are pickled."""

from __future__ import annotations

from huey import RedisHuey

from benchmarks.peers.serve import REDIS_URL, enqueue_verb, serve

huey = RedisHuey("bench", url=REDIS_URL)


@huey.task()
def store(key: str, body: bytes) -> None:
    """Only enqueued."""


if __name__ == "__main__":
    serve(enqueue=enqueue_verb(store))
