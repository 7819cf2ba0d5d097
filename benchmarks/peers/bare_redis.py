"""redis-py's RPUSH of the same bytes: the limit of any enqueue by redis-py."""

from __future__ import annotations

import redis

from benchmarks.peers.serve import REDIS_URL, enqueue_verb, serve

if __name__ == "__main__":
    client = redis.Redis.from_url(REDIS_URL)
    serve(enqueue=enqueue_verb(lambda _, body: client.rpush("list", body)))
