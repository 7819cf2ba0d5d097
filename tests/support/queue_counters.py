"""The counters of a queue, by name."""

from __future__ import annotations

from typing import Any, cast

import redis

from penstock.queue.answers import pair_counters
from penstock.queue.names import script_keys
from penstock.queue.scripts import load


def read_counters(client: redis.Redis, prefix: str) -> dict[str, int]:
    source: Any = load("counters").source
    return pair_counters(cast("list[Any]", client.eval(source, 2, *script_keys(prefix))))
