"""The alert rules in Prometheus's own eyes: valid, firing when they should and silent otherwise."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_worker.alerts.render import rules, rules_yaml

ROOT = Path(__file__).parents[2]
TESTS = sorted((ROOT / "monitoring" / "tests").glob("*.yml"))
RULES: list[dict[str, Any]] = [rule for group in rules({})["groups"] for rule in group["rules"]]

BELOW_IN_THE_SAME_TEST = {
    *("PenstockDeleteFailures", "PenstockStoredShareLow", "PenstockOldestWriteTooOld", "PenstockQueueNearlyFull"),
}
"""Alerts of which one test has queues that must be told of beside queues that must not."""


def _promtool(promtool: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *map(str, args)], capture_output=True, text=True, timeout=60)


def test_promtool_finds_nothing_wrong_with_the_rules(promtool: str) -> None:
    done = _promtool(promtool, "check", "rules", "--lint-fatal", ROOT / "monitoring" / "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.stem))
def test_alerts_fire_and_stay_silent(promtool: str, path: Path) -> None:
    done = _promtool(promtool, "test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def _told(path: Path) -> Iterator[tuple[str, str, bool]]:
    """What a file of tests expects: alert, severity (empty: all of the alert's), whether it fires."""
    for test in yaml.safe_load(path.read_text())["tests"]:
        for check in test.get("alert_rule_test", ()):
            for alert in check["exp_alerts"]:
                yield check["alertname"], alert["exp_labels"]["severity"], True
            if not check["exp_alerts"]:
                yield check["alertname"], "", False
        for check in test.get("promql_expr_test", ()):
            about = re.search('alertname=~?"([^"]*)"', check["expr"])
            for sample in check["exp_samples"]:
                labels = dict(re.findall('(\\w+)="([^"]*)"', sample["labels"]))
                yield str(labels.get("alertname") or (about and about[1])), labels.get("severity", ""), True
            for name in {rule["alert"] for rule in RULES}:
                if not check["exp_samples"] and re.fullmatch(about[1] if about else ".*", name):
                    yield name, "", False


def test_of_every_alert_it_is_tested_that_it_fires_and_that_it_stays_silent() -> None:
    told = {one for path in TESTS for one in _told(path) if path.stem != "idle"}
    for rule in RULES:
        assert (rule["alert"], rule["labels"]["severity"], True) in told
        assert (rule["alert"], "", False) in told or rule["alert"] in BELOW_IN_THE_SAME_TEST


def test_where_workers_scale_to_zero_only_a_backlog_needs_one(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(rules_yaml({"worker_missing_writes": 1.0}))

    def series(queue: str, waiting: int) -> list[dict[str, str]]:
        labels = f'queue="{queue}", job="exporter", instance="1"'
        return [
            {"series": f'penstock_queue_limit{{{labels}, unit="items"}}', "values": "1000000x20"},
            {"series": f'penstock_queue_writes{{{labels}, state="delayed"}}', "values": f"{waiting}x20"},
        ]

    check = {
        "expr": 'count by (queue) (ALERTS{alertname="PenstockWorkerDown", alertstate="firing"})',
        "eval_time": "4m",
        "exp_samples": [{"labels": '{queue="waits"}', "value": 1}],
    }
    test = {"interval": "15s", "input_series": series("empty", 0) + series("waits", 1), "promql_expr_test": [check]}
    document = {"rule_files": ["alerts.yml"], "evaluation_interval": "15s", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    done = _promtool(promtool, "test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
