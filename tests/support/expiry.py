"""What Redis keeps for a while only."""

from __future__ import annotations

import re
from typing import Any, cast

import redis


def let_pass(client: redis.Redis, prefix: str, seconds: int) -> None:
    """As if so much time had passed for the keys that begin so."""
    commands = cast("Any", client)
    for key in commands.keys(re.sub(r"([\[\]*?\\])", r"\\\1", prefix) + "*"):
        left = commands.ttl(key)
        if left >= 0:
            commands.expire(key, left - seconds)
