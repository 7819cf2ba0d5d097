"""Is this Redis fit to keep writes? Judged by INFO alone, which a managed Redis without CONFIG answers too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

OLDEST_REDIS = (7, 0)


def keeps_files(info: Mapping[str, Any]) -> bool:
    """Whether an append-only file is written."""
    return bool(info.get("aof_enabled"))


def eviction(info: Mapping[str, Any]) -> str:
    """The policy under which Redis throws keys away; ``noeviction`` where it does not say."""
    return str(info.get("maxmemory_policy", "noeviction"))


def is_durable(info: Mapping[str, Any]) -> bool:
    """Whether accepted writes outlive a restart of Redis and a full memory."""
    return keeps_files(info) and eviction(info) == "noeviction"


def redis_version(info: Mapping[str, Any]) -> str:
    """The version of Redis whose commands the server speaks; Valkey says 7.2.4 for itself."""
    return str(info.get("redis_version", "0.0"))


def is_too_old(info: Mapping[str, Any]) -> bool:
    return tuple(int(part) for part in redis_version(info).split(".")[:2]) < OLDEST_REDIS


def redis_warnings(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What would lose writes later: (what, remedy)."""
    if eviction(info) != "noeviction":
        yield (
            f"maxmemory-policy is {eviction(info)}: Redis throws accepted writes away when its memory is full",
            "set maxmemory-policy noeviction",
        )
    if not keeps_files(info):
        yield (
            "appendonly is off: accepted writes are lost when Redis restarts",
            "set appendonly yes and appendfsync everysec (or always)",
        )
    if is_too_old(info):
        yield (
            f"Redis {redis_version(info)} is older than 7.0: its scripts lack what Penstock needs",
            "upgrade Redis, or use Valkey",
        )
