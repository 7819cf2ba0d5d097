"""What a worker looks at before it starts: is this Redis fit to keep writes?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

OLDEST_REDIS = (7, 0)


def redis_warnings(client: redis.Redis) -> Iterator[tuple[str, str]]:
    """What would lose writes later: (what, remedy). INFO is enough, so a managed Redis without CONFIG is judged too."""
    info: dict[str, Any] = client.info()
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"maxmemory-policy is {policy}: Redis throws accepted writes away when its memory is full",
            "set maxmemory-policy noeviction",
        )
    if not info.get("aof_enabled"):
        yield (
            "appendonly is off: accepted writes are lost when Redis restarts",
            "set appendonly yes and appendfsync everysec (or always)",
        )
    version = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        yield f"Redis {version} is older than 7.0: its scripts lack what Penstock needs", "upgrade Redis, or use Valkey"
