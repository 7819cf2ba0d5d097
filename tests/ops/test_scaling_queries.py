"""What the chart's queries tell KEDA, by Prometheus's own engine: promtool evaluates them over made-up series."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import rendered
from tests.support.ops_tools import ops_tool

OURS = 'namespace="uploads",queue="default"'

Gauges = dict[str, float]


def _queries() -> dict[str, str]:
    triggers = rendered("scale-to-zero").one("ScaledObject")["spec"]["triggers"]
    return {trigger["name"]: trigger["metadata"]["query"] for trigger in triggers}


def _series(gauges: Gauges, labels: str) -> list[dict[str, str]]:
    """The queue's gauges as two workers and the exporter serve them."""
    return [
        {"series": f'{name},{labels},pod="{pod}"}}', "values": f"{value:g}x5"}
        for name, value in gauges.items()
        for pod in ("worker-a", "worker-b", "exporter")
    ]


def _gauges(
    *,
    ready: float = 0,
    set_aside: float = 0,
    delayed: float = 0,
    inflight: float = 0,
    contested: float = 0,
    age: float = 0,
) -> Gauges:
    writes = 'penstock_queue_writes{state="'
    return {
        f'{writes}ready",priority="normal"': ready * 0.75,
        f'{writes}ready",priority="low"': ready * 0.25,
        f'{writes}delayed",priority=""': delayed,
        f'{writes}inflight",priority=""': inflight,
        f'{writes}dead",priority=""': 1000,
        f'{writes}contested",priority=""': contested,
        'penstock_queue_set_aside{kind=""': set_aside,
        'penstock_queue_oldest_age_seconds{priority="normal"': age,
        'penstock_queue_oldest_age_seconds{priority="low"': age / 2,
    }


@pytest.mark.parametrize(
    ("gauges", "age", "backlog"),
    [
        (_gauges(), 0, 0),
        (_gauges(ready=600, delayed=5, inflight=50, age=40), 40, 655),
        (_gauges(ready=600, set_aside=200, age=40), 40, 400),
        # Suspended or paused: more workers would change nothing.
        (_gauges(ready=600, set_aside=600, age=4000), 0, 0),
        # The guard has to look: one worker, whatever their number.
        (_gauges(contested=300), 0, 1),
        (_gauges(ready=10, contested=300, age=1), 1, 11),
    ],
    ids=["empty", "backlog", "partly held up", "wholly held up", "contested", "both"],
)
def test_keda_is_told_the_age_and_depth_of_what_workers_can_move(
    tmp_path: Path, gauges: Gauges, age: float, backlog: float
) -> None:
    series = _series(gauges, OURS)
    for others in ('namespace="elsewhere",queue="default"', 'namespace="uploads",queue="other"'):
        series += _series(_gauges(ready=77777, inflight=77777, age=77777), others)
    _evaluate(tmp_path, series, {"oldest-age": [age], "backlog": [backlog]})


def test_keda_is_told_nothing_while_redis_is_away(tmp_path: Path) -> None:
    _evaluate(
        tmp_path, [{"series": f"penstock_writes_total{{{OURS}}}", "values": "0x5"}], {"oldest-age": [], "backlog": []}
    )


def _evaluate(tmp_path: Path, series: list[dict[str, str]], expected: dict[str, list[float]]) -> None:
    queries = _queries()
    test: dict[str, Any] = {
        "rule_files": [],
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": queries[name],
                        "eval_time": "2m",
                        "exp_samples": [{"labels": "{}", "value": value} for value in values],
                    }
                    for name, values in expected.items()
                ],
            }
        ],
    }
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    done = subprocess.run([ops_tool("promtool"), "test", "rules", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
