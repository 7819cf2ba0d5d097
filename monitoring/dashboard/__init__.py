"""Builds monitoring/dashboard.json. What the panels show is in `well` and the `…_rows`, how they look in `panels`."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from monitoring.dashboard.panels import RED, SOURCE, Graph, Stat
from monitoring.dashboard.queue_rows import LATENCIES, QUEUE
from monitoring.dashboard.s3_rows import BATCHES, S3
from monitoring.dashboard.spool_row import SPOOLS
from monitoring.dashboard.upkeep_rows import SAVINGS, TROUBLE, WORKERS
from monitoring.dashboard.well import SUSPENDED_BUCKETS, WELL

PATH = Path(__file__).parents[1] / "dashboard.json"
ROWS: tuple[tuple[str, tuple[Graph | Stat, ...]], ...] = (
    ("Is it well?", WELL),
    ("Queue", QUEUE),
    ("Latency", LATENCIES),
    ("S3", S3),
    ("Writes and batches", BATCHES),
    ("Savings", SAVINGS),
    ("Trouble", TROUBLE),
    ("Workers", WORKERS),
    ("Spools", SPOOLS),
)
"""In the order in which somebody asks who was just woken."""
UID = "penstock"
"""Stays: links and bookmarks have it, and an import with it replaces the dashboard that is there."""
EVERY = '__name__=~"penstock_queue_limit|penstock_batch_items_count"'
"""What every exporter and worker has, even while Redis is away."""


def build() -> dashboard.Dashboard:
    made = (
        builders.Dashboard("Penstock")
        .uid(UID)
        .description("A write-behind queue for S3: is it well, and if not, where is it stuck?")
        .tags(["penstock", "s3", "queue"])
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .annotations([_suspensions()])
        .variables([_datasource(), _queue(), _job(), _instance()])
    )
    number = 0
    for title, panels in ROWS:
        number += 1
        made = made.with_row(builders.Row(title).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(panel.build().id(number))
    return made.build()


def text() -> str:
    return json.dumps(build(), cls=JSONEncoder, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _suspensions() -> builders.AnnotationQuery:
    """Shaded on all graphs: what else happened while a bucket was suspended."""
    return (
        builders.AnnotationQuery()
        .name("Suspended buckets")
        .datasource(SOURCE)
        .expr(SUSPENDED_BUCKETS)
        .icon_color(RED)
        .enable(True)
    )


def _datasource() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _queue() -> builders.QueryVariable:
    """One at a time, as the numbers of two do not add up. Empty, which fits too, where targets have no such label."""
    return _labels("queue", f"label_values({{{EVERY}}}, queue)").label("Queue").description("The label of its targets.")


def _job() -> builders.QueryVariable:
    query = f'label_values({{{EVERY}, queue=~"$queue"}}, job)'
    return _every(_labels("job", query)).label("Job").description("The queue's workers and its exporter.")


def _instance() -> builders.QueryVariable:
    query = f'label_values({{{EVERY}, queue=~"$queue", job=~"$job"}}, instance)'
    return _every(_labels("instance", query)).label("Instance").description("All workers and exporters, or some.")


def _labels(name: str, query: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .query(query)
        .datasource(SOURCE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    )


def _every(variable: builders.QueryVariable) -> builders.QueryVariable:
    """All are chosen at first, each by its name: a pattern for all would take in other programs' targets too."""
    every = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).current(every)
