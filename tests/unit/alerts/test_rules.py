"""The rules: each expression parses, each metric and label in it exists, and thresholds go where they belong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from penstock.queue.names import PRIORITIES
from penstock.queue.results import Limits, Stats
from penstock_worker.alerts.render import GROUPS, rules
from penstock_worker.alerts.thresholds import THRESHOLDS
from penstock_worker.bucket_labels import BucketLabels
from penstock_worker.cli import cli
from penstock_worker.metrics import Metrics, queue_metrics

RULES: list[dict[str, Any]] = [rule for group in rules({})["groups"] for rule in group["rules"]]
NAMED = {
    *("PenstockS3HighErrorRate", "PenstockS3CriticalErrorRate", "PenstockS3HighLatency", "PenstockS3CriticalLatency"),
    *("PenstockDeleteFailures", "PenstockStoredShareLow", "PenstockBacklogGrowing", "PenstockOldestWriteTooOld"),
    *("PenstockQueueNearlyFull", "PenstockDeadLetters", "PenstockBucketSuspended", "PenstockWorkerDown"),
    *("PenstockNoClaims", "PenstockRedisUnreachable", "PenstockRedisNotDurable", "PenstockClockSkew"),
    *("PenstockRedisDiskNearlyFull", "PenstockSpoolOld", "PenstockSpoolSetAside", "PenstockSpoolUnreadable"),
}
TARGET_LABELS = {"namespace", "queue", "job", "instance", "pod"}
"""What a scrape configuration gives, not a metric; see docs/monitoring.md."""
OTHERS = {
    "up": set[str](),
    # node_exporter's.
    "node_filesystem_avail_bytes": {"mountpoint", "device", "fstype"},
    "node_filesystem_size_bytes": {"mountpoint", "device", "fstype"},
    # Told by the Redis watch alone, which tests/integration/worker/test_sidecar.py sees at work.
    "penstock_redis_durable": set(),
    "penstock_clock_skew_seconds": set(),
    # Of the exporter, where producers run.
    "penstock_spool_oldest_age_seconds": set(),
    "penstock_spool_files_aside": set(),
    "penstock_spool_readable": set(),
}


def _known() -> dict[str, set[str]]:
    """Every sample that the code's metrics have, with its labels."""
    known = {name: set(labels) for name, labels in OTHERS.items()}
    metrics = Metrics()
    metrics.writes("stored", 1)
    for outcome in ("ok", "partial", "failed", "released"):
        metrics._batch_seconds.labels(outcome)
    registry: CollectorRegistry = metrics.registry
    per_priority = dict.fromkeys(PRIORITIES, 1)
    stats = Stats(
        queue="q", now=0.0, shards=1, paused=False, ready=per_priority, delayed=1, inflight=1, parked=0, dead=1,
        contested=1, items=1, bytes=1, dead_bytes=1, oldest_age=dict.fromkeys(PRIORITIES, 1.0), limits=Limits(1, 1, 1),
        accepted=per_priority, coalesced=per_priority, rejected={"items": 1}, blocks=[], suspended=[], set_aside=0,
    )  # fmt: skip
    for family in (*registry.collect(), *queue_metrics(stats, BucketLabels(None))):
        for sample in family.samples:
            known.setdefault(sample.name, set()).update(sample.labels)
    return known | {"penstock_bucket_suspended": {"bucket"}}


def _values(metric: str, label: str) -> set[str]:
    """The values that a label of one of the code's metrics may have, where the rules name some."""
    return {
        "priority": set(PRIORITIES), "operation": {"put", "delete"}, "state": {"ready", "delayed", "inflight", "dead"},
        "unit": {"items", "bytes", "dead_bytes"},
        "outcome": {"ok", "error"} if metric == "penstock_s3_write_requests_total" else {
            "stored", "deleted", "retried", "dead", "superseded", "released", "lease_lost", "repaired"
        },
    }[label]  # fmt: skip


def _nodes(node: Any) -> Iterator[Any]:
    """A parsed expression and all that it is made of."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "args"):
        part = getattr(node, name, None)
        for one in part if isinstance(part, list) else [part]:
            if one is not None:
                yield from _nodes(one)


def _selectors(expr: str) -> list[promql_parser.VectorSelector]:
    tree = promql_parser.parse(expr)
    return [node for node in _nodes(tree) if isinstance(node, promql_parser.VectorSelector)]


def name_of(rule: dict[str, Any]) -> str:
    return f"{rule['alert']}-{rule['labels']['severity']}"


every = pytest.mark.parametrize("rule", RULES, ids=name_of)


def test_every_alert_is_there_and_none_stands_twice_with_one_severity() -> None:
    assert {rule["alert"] for rule in RULES} == NAMED
    assert len({name_of(rule) for rule in RULES}) == len(RULES)


@every
def test_metrics_labels_and_their_values_exist_in_the_code(rule: dict[str, Any]) -> None:
    known = _known()
    selectors = _selectors(rule["expr"])
    assert selectors, "the walk through the expression finds nothing"
    assert {one.name for one in selectors} >= set(re.findall(r"penstock_\w+", rule["expr"])), "and not all of it"
    for one in selectors:
        assert one.name in known
        for matcher in one.matchers.matchers:
            assert matcher.name in known[one.name], one.name
            if str(one.name).startswith("penstock_"):
                assert set(matcher.value.split("|")) <= _values(str(one.name), matcher.name)
    for clause in re.findall(r"(?:by|on) \(([^)]*)\)", rule["expr"]):
        labels = {label.strip() for label in clause.split(",") if label.strip()}
        assert labels <= TARGET_LABELS.union({"le"}, *(known[str(one.name)] for one in selectors))


@every
def test_each_has_a_summary_a_description_with_the_value_a_runbook_and_a_severity(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook_url"}
    assert "$value" in notes["description"] or "0 workers" in notes["description"]
    assert notes["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})
    assert not re.search("<[a-z_]+>", json.dumps(rule)), "a threshold that nobody knows"


@every
def test_numbers_that_all_workers_show_are_never_added_up(rule: dict[str, Any]) -> None:
    for gauge in re.findall(r"(\w+)(?: by \([^)]*\))? \(penstock_(?:queue|bucket|redis)_\w+", rule["expr"]):
        assert gauge in ("max", "min", "min_over_time", "last_over_time", "absent_over_time", "count"), rule["expr"]


def test_every_threshold_is_used() -> None:
    text = json.dumps([[rule.expr, rule.description, f"<{rule.wait}>"] for group in GROUPS for rule in group.rules])
    assert set(re.findall(r"<([a-z0-9_]+)>", text)) - {"which"} == THRESHOLDS.keys() - {"runbook_url"}


def _render(*args: str) -> Result:
    return CliRunner().invoke(cli, ["alerts", "render", *args], prog_name="penstock")


@pytest.mark.parametrize("name", THRESHOLDS)
def test_an_option_changes_the_rules_that_name_it_and_no_others(name: str) -> None:
    threshold = THRESHOLDS[name]
    changed = {"share": "0.123", "duration": "77s", "text": "/a/place"}.get(threshold.unit, "123")
    done = _render("--json", f"--{name.replace('_', '-')}", changed)
    assert done.exit_code == 0, done.output
    found = [rule for group in json.loads(done.output)["groups"] for rule in group["rules"]]
    sources = [rule for group in GROUPS for rule in group.rules]
    for rule, default, source in zip(found, RULES, sources, strict=True):
        names = f"<{name}>" in source.expr + source.description or source.wait == name or name == "runbook_url"
        assert (rule != default) is names, rule
        assert not names or changed in json.dumps(rule)
        promql_parser.parse(rule["expr"])


def test_the_output_is_the_file_and_the_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text("x" * 100_000)
    assert _render("--output", str(path), "--oldest-low", "7200").output == ""
    (old,) = [rule for rule in RULES if name_of(rule) == "PenstockOldestWriteTooOld-warning"]
    (new,) = [
        rule
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if name_of(rule) == name_of(old)
    ]
    assert new["expr"] == old["expr"].replace("> 3600", "> 7200") != old["expr"]
