"""The bodies that all contenders send, and the bucket they send them to. Needs nothing but the standard library."""

from __future__ import annotations

import json
import random

BUCKET = "bench-bucket"
BODY = 1024
"""Bytes of a body where the measure says nothing else."""
VARIETY = 256
"""Different small bodies in turn: enough that none compresses as if it were one, and few enough to make in no time."""


def json_body(size: int = BODY, seed: int | None = None) -> bytes:
    """JSON-like text of exactly ``size`` bytes that neither compresses to nothing nor is noise."""
    source = random.Random(seed)
    rows: list[str] = []
    length = 0
    while length < size:
        row = {"id": source.getrandbits(64), "values": [source.getrandbits(24) for _ in range(24)], "state": "stored"}
        rows.append(json.dumps(row))
        length += len(rows[-1]) + 1
    return "\n".join(rows).encode()[:size]


def bodies(size: int = BODY) -> list[bytes]:
    """The bodies that writes take in turn; the same in every process. Large ones are fewer, of some 4 MiB together."""
    return [json_body(size, seed) for seed in range(max(4, min(VARIETY, 4 * 1024**2 // size)))]
