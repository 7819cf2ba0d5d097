"""What the chart hands to operators of monitoring and scaling: the rules, the scrapes, KEDA's triggers."""

from __future__ import annotations

import math
import re
from typing import Any

import promql_parser
import pytest
import yaml
from click.testing import CliRunner
from cloudcoil.models.keda.v1alpha1 import ScaledObject

from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.alerts.thresholds import THRESHOLDS, Value
from penstock_worker.bucket_labels import BucketLabels
from penstock_worker.cli import cli
from penstock_worker.metrics import queue_metrics
from tests.support.chart import CHART, Object, minimal, render, rendered, values_of

ROOT = CHART.parents[1]
SCALED = ("everything", "scale-to-zero")
DURATIONS = {"5m": "7m", "1m": "2m", "10m": "12m", "2m": "3m", "15m": "16m", "1d": "2d"}


def test_the_charts_rules_are_those_of_monitoring() -> None:
    rule = render(minimal(alerts={"enabled": True})).one("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((ROOT / "monitoring" / "alerts.yml").read_text(encoding="utf-8"))


def _other(name: str) -> Value:
    default = THRESHOLDS[name].default
    if isinstance(default, str):
        return DURATIONS.get(default, f"{default}x")
    # A large one, which a template might write as 1e+06.
    return {"backlog_writes": 1_500_000.0}.get(name, default / 2 or 3.0)


def test_with_other_thresholds_they_are_those_of_the_command() -> None:
    given = {name: _other(name) for name in THRESHOLDS}
    flags = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    done = CliRunner().invoke(cli, ["alerts", "render", *flags])
    assert done.exit_code == 0, done.output
    rule = render(minimal(alerts={"enabled": True, "thresholds": given})).one("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(done.output)
    default = render(minimal(alerts={"enabled": True})).one("PrometheusRule")
    changed = [
        one
        for one, other in zip(_rules(rule), _rules(default), strict=True)
        if one["expr"] != other["expr"] or one.get("for") != other.get("for")
    ]
    assert len(changed) == len(_rules(rule)), "every rule has a threshold of its own"


def _rules(rule: Object) -> list[Object]:
    return [one for group in rule["spec"]["groups"] for one in group["rules"]]


def test_a_scrape_knows_the_queue_that_the_rules_group_by() -> None:
    monitor = rendered("everything").one("PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "sidecar"
    assert endpoint["relabelings"] == [{"action": "replace", "targetLabel": "queue", "replacement": "uploads"}]
    (default,) = rendered("scale-to-zero").one("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert default["relabelings"][0]["replacement"] == "default"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    rule = rendered("everything").one("PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert "by (namespace, queue" in str(rule)


@pytest.mark.parametrize("name", SCALED)
def test_the_scaled_object_is_one_by_kedas_own_models(name: str) -> None:
    scaled = rendered(name).one("ScaledObject")
    read = ScaledObject.model_validate(scaled)
    # The models drop what they do not know, so that what is left tells a name that KEDA has not.
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == scaled


@pytest.mark.parametrize("name", SCALED)
def test_keda_scales_the_worker_on_oldest_age_and_backlog(name: str) -> None:
    release = rendered(name)
    spec, worker = release.one("ScaledObject")["spec"], release.one("Deployment", "worker")
    target = spec["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", worker["metadata"]["name"])
    assert "replicas" not in worker["spec"], "KEDA's number and the chart's would fight"
    assert [trigger["type"] for trigger in spec["triggers"]] == ["prometheus", "prometheus"]
    assert {trigger["name"]: trigger["metricType"] for trigger in spec["triggers"]} == {
        "oldest-age": "Value",
        "backlog": "AverageValue",
    }
    for trigger in spec["triggers"]:
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert trigger["metadata"]["ignoreNullValues"] == "false"
    given = values_of(name)["autoscaling"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (given["minReplicas"], given.get("maxReplicas", 10))


def _queries(values: Object) -> dict[str, str]:
    spec = render(values).one("ScaledObject")["spec"]
    return {trigger["name"]: trigger["metadata"]["query"] for trigger in spec["triggers"]}


def test_kedas_queries_are_promql_over_metrics_that_the_exporter_has(redis_url: str, queue_name: str) -> None:
    with open_client(redis_url, 5.0) as client:
        metrics = {
            metric.name: [sample.labels for sample in metric.samples]
            for metric in queue_metrics(Queue(client, queue_name).stats(), BucketLabels(None))
        }
    for query in _queries(values_of("scale-to-zero")).values():
        promql_parser.parse(query)
        selectors = re.findall(r"(penstock_\w+)\{(.*?)\}", query)
        assert selectors
        for name, labels in selectors:
            assert name in metrics
            given = dict(re.findall(r'(\w+)=~?"(.*?)"', labels))
            assert (given.pop("namespace"), given.pop("queue")) == ("uploads", "default")
            assert any(
                all(re.fullmatch(pattern, one[label]) for label, pattern in given.items()) for one in metrics[name]
            ), f"{name}{{{labels}}} would be empty, which KEDA takes for an error"


def test_kedas_selector_is_the_operators_own_where_there_is_one() -> None:
    for query in _queries(values_of("everything")).values():
        assert 'job="uploads"' in query
        assert "namespace" not in query


def test_a_large_number_of_writes_is_written_out() -> None:
    triggers: list[dict[str, Any]] = rendered("everything").one("ScaledObject")["spec"]["triggers"]
    assert [trigger["metadata"]["threshold"] for trigger in triggers] == ["12.5", "1000000"]
    assert math.isclose(float(triggers[0]["metadata"]["threshold"]), 12.5)
