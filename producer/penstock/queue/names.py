"""Names: of a queue's keys in Redis, and of a write, which is its bucket and key."""

from __future__ import annotations

LAYOUT_VERSION = 1

PRIORITIES = ("critical", "high", "normal", "low")
"""In the order in which they go first; a priority's number is its place here."""


def key_prefix(queue: str, shard: int = 0) -> str:
    """What every key of a shard begins with. The braces make it one slot of a Redis Cluster."""
    return f"penstock:{{{queue}:{shard}}}:"


def script_keys(prefix: str) -> tuple[str, str]:
    """What each script call names: the meta key, of which the script makes the others, and one that never exists.

    The second is for Redis Cluster. While a slot moves from node to node, key by key, a script that names one key runs
    wherever that one is, and fails in its middle at a key that is elsewhere. One that names two of which one is not
    there is refused before it begins (TRYAGAIN or ASK), from the first step of the move to the last.
    """
    return f"{prefix}meta", f"{prefix}absent"


def join_name(bucket: str, key: str) -> str:
    """A bucket's name holds no slash, so the first one parts it from the key."""
    return f"{bucket}/{key}"


def split_name(name: bytes) -> tuple[str, str]:
    bucket, _, key = name.decode().partition("/")
    return bucket, key
