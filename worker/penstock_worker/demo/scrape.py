"""What the worker counted, read from its own /metrics as Prometheus would."""

from __future__ import annotations

import http.client
from collections import defaultdict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from penstock_worker.quantiles import Buckets

SCRAPE_SECONDS = 5.0


@dataclass(slots=True)
class WorkerNumbers:
    """``writes`` by outcome. ``latency``: accept to stored, by priority."""

    writes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    s3_errors: int = 0
    body_bytes: int = 0
    stored_bytes: int = 0
    latency: dict[str, Buckets] = field(default_factory=lambda: defaultdict(list))

    @property
    def ended(self) -> int:
        """Accepted writes that the worker has dealt with for good."""
        return sum([self.writes[outcome] for outcome in ("stored", "deleted", "superseded", "dead")])


def get(address: str, path: str) -> tuple[int, str]:
    """Status and body; http.client, because urllib would go through a proxy that the environment names.

    Raises OSError or http.client.HTTPException.
    """
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=SCRAPE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def scrape(address: str) -> WorkerNumbers:
    """Raises OSError or http.client.HTTPException."""
    status, page = get(address, "/metrics")
    if status != http.HTTPStatus.OK:
        raise http.client.HTTPException(f"{address}/metrics answered {status}")
    return parse(page)


def parse(page: str) -> WorkerNumbers:
    numbers = WorkerNumbers()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            match sample.name:
                case "penstock_writes_total":
                    numbers.writes[sample.labels["outcome"]] = int(sample.value)
                case "penstock_s3_errors_total":
                    numbers.s3_errors += int(sample.value)
                case "penstock_body_bytes_total":
                    numbers.body_bytes = int(sample.value)
                case "penstock_stored_bytes_total":
                    numbers.stored_bytes = int(sample.value)
                case "penstock_write_latency_seconds_bucket":
                    bound = (float(sample.labels["le"]), sample.value)
                    numbers.latency[sample.labels["priority"]].append(bound)
    return numbers
