"""A dead letter for programs."""

from __future__ import annotations

from typing import Any

from penstock.queue.results import DeadLetter
from penstock_worker.cli.common import rfc3339


def dead_json(letter: DeadLetter) -> dict[str, Any]:
    """The documented form of an entry of ``dead list --json``."""
    return {
        "bucket": letter.bucket,
        "key": letter.key,
        "seq": letter.seq,
        "operation": letter.operation,
        "priority": letter.priority,
        "tenant": letter.tenant,
        "attempts": letter.attempts,
        "error_class": letter.failure.error_class,
        "code": letter.failure.code,
        "http_status": letter.failure.http_status,
        "message": letter.failure.message,
        "accepted_at": rfc3339(letter.accepted_at),
        "died_at": rfc3339(letter.died_at),
        "size": letter.size,
        "imported": letter.imported,
    }
