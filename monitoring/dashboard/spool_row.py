"""What hosts accepted while Redis was away, where an exporter runs beside the producers."""

from __future__ import annotations

from monitoring.dashboard.expressions import rate, select
from monitoring.dashboard.panels import BLUE, GREEN, ORANGE, RED, Graph, Query
from monitoring.dashboard.well import FULL


def _by_host(metric: str) -> str:
    return f"sum by (instance) ({select(metric)})"


SPOOLS = (
    Graph(
        "Writes in spools",
        "By host: accepted, on that host's disk alone, and not in Redis. Zero while Redis is well; no line where no "
        "exporter looks at a spool.",
        "short",
        (Query(_by_host("penstock_spool_writes"), "{{instance}}"),),
        stepped=True,
    ),
    Graph(
        "Oldest write in spools",
        "By host. It rises while Redis is away for it, or when no producer of the host is left to send it: "
        "`penstock spool flush` does.",
        "s",
        (Query(_by_host("penstock_spool_oldest_age_seconds"), "{{instance}}"),),
    ),
    Graph(
        "Spools against their limits",
        "Bytes, by host. At 100 % of PENSTOCK_SPOOL_MAX_BYTES producers get QueueFull.",
        "percentunit",
        (
            Query(
                f"{_by_host('penstock_spool_bytes')} / {_by_host('penstock_spool_limit_bytes')}",
                "{{instance}}",
            ),
        ),
        steps=FULL,
    ),
    Graph(
        "Sent on from spools",
        "Writes a second of all hosts, and how many of them a newer write of their key had superseded.",
        "wps",
        (
            Query(rate("penstock_spool_replayed_writes_total"), "sent on"),
            Query(rate("penstock_spool_superseded_writes_total"), "superseded"),
        ),
        span=12,
        colours=(("sent on", GREEN), ("superseded", ORANGE)),
    ),
    Graph(
        "Spools and damage",
        "Spools that can be read, and files that could not and were set aside: what those hold is not sent on. "
        "`penstock spool stats` names them.",
        "short",
        (
            Query(f"sum({select('penstock_spool_readable')})", "readable"),
            Query(f"sum({select('penstock_spool_files_aside')})", "files set aside"),
        ),
        stepped=True,
        span=12,
        colours=(("readable", BLUE), ("files set aside", RED)),
    ),
)
