"""Who changed what about a queue by command: the newest 10,000 entries or so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from penstock.queue.sharded import AnyQueue


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One command. ``what`` holds its arguments; ``error`` says why it ended early, and ``count`` how far it came."""

    at: datetime
    who: str
    command: str
    what: dict[str, Any]
    count: int
    error: str | None


def record(
    queue: AnyQueue, who: str, command: str, what: Mapping[str, object], count: int, error: str | None = None
) -> None:
    """Adds an entry; the oldest ones go. ``what`` names no payload and no secret."""
    queue.shards[0].run("audit", who, command, json.dumps(what, ensure_ascii=False), count, error or "")


def entries(queue: AnyQueue, *, limit: int) -> list[AuditEntry]:
    """The newest first."""
    first = queue.shards[0]
    found = cast("list[tuple[bytes, dict[bytes, bytes]]]", first.client.xrevrange(first.prefix + "audit", count=limit))
    return [
        AuditEntry(
            at=datetime.fromtimestamp(int(entry_id.partition(b"-")[0]) / 1000, UTC),
            who=fields[b"who"].decode(),
            command=fields[b"command"].decode(),
            what=json.loads(fields[b"what"]),
            count=int(fields[b"count"]),
            error=fields[b"error"].decode() or None,
        )
        for entry_id, fields in found
    ]
