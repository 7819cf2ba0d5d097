"""What `penstock top` shows, for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from penstock.queue.flows import Flow
from penstock.queue.workers import WorkerSeen
from penstock_worker.cli.common import rfc3339
from penstock_worker.cli.dead_json import dead_json
from penstock_worker.cli.queue import stats_json
from penstock_worker.top.view import Latency, View


def view_json(view: View) -> dict[str, Any]:
    """The documented form of ``top --json``."""
    look = view.look
    return {
        "at": rfc3339(datetime.fromtimestamp(look.stats.now, UTC)),
        **stats_json(look.stats, look.log_level),
        "accepted_per_second": _rounded(view.accepted),
        "coalesced_per_second": _round(view.coalesced),
        "rejected_per_second": _rounded(view.rejected),
        "stored_per_second": _round(view.stored),
        "stored_bytes_per_second": _round(view.stored_bytes),
        "latency_seconds": {name: _latency(latency) for name, latency in view.latency.items()},
        "s3_errors": [
            {"error_class": error_class, "code": code, "count": count} for error_class, code, count in view.errors
        ],
        "flow_count": look.flows.count,
        "flows": [_flow(flow) for flow in look.flows.oldest],
        "workers": [_worker(worker) for worker in look.workers],
        "dead_letters": [dead_json(letter) for letter in look.dead],
    }


def _flow(flow: Flow) -> dict[str, Any]:
    return {
        "priority": flow.priority,
        "bucket": flow.bucket,
        "tenant": flow.tenant,
        "ready": flow.ready,
        "oldest_age_seconds": flow.oldest_age,
        "set_aside": flow.set_aside,
    }


def _worker(worker: WorkerSeen) -> dict[str, Any]:
    facts = worker.facts
    rate = facts.rate.writes / facts.rate.seconds if facts.rate.seconds > 0 else 0.0
    return {
        "id": worker.id,
        "alive": worker.is_alive,
        "beaten_at": rfc3339(worker.beaten_at),
        "age_seconds": worker.age,
        "host": facts.host,
        "pid": facts.pid,
        "version": facts.version,
        "engine": facts.engine,
        "state": facts.state,
        "state_seconds": _round(facts.state_seconds),
        "started_at": rfc3339(worker.started_at),
        "in_flight": facts.in_flight,
        "claims": facts.claims,
        "lease_left_seconds": _round(facts.lease_left),
        "slots": facts.slots,
        "concurrency": facts.concurrency,
        "stored": facts.stored,
        "stored_bytes": facts.stored_bytes,
        "stored_per_second": _round(rate),
    }


def _latency(latency: Latency) -> dict[str, Any]:
    return {
        "writes": latency.writes,
        "p50": _round(latency.p50),
        "p95": _round(latency.p95),
        "p99": _round(latency.p99),
    }


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: _round(value) for name, value in values.items()}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
