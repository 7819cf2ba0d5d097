"""The example files for Prometheus and Alertmanager: valid, and each alert goes where it should."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from penstock_worker.alerts.render import rules

MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = {(rule["alert"], rule["labels"]["severity"]) for group in rules({})["groups"] for rule in group["rules"]}


def _run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, args)], capture_output=True, text=True, timeout=60)


def test_alertmanagers_file_is_valid_and_has_its_secrets_in_files(amtool: str) -> None:
    path = MONITORING / "alertmanager.yml"
    done = _run(amtool, "check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    pager, slack = yaml.safe_load(path.read_text())["receivers"][1:]
    assert {"routing_key_file"} == {name for name in pager["pagerduty_configs"][0] if "key" in name}
    assert {"api_url_file"} == {name for name in slack["slack_configs"][0] if "url" in name}


@pytest.mark.parametrize(("alert", "severity"), sorted(RULES))
def test_critical_alerts_go_to_the_pager_and_warnings_to_slack(amtool: str, alert: str, severity: str) -> None:
    receiver = {"critical": "penstock-pagerduty", "warning": "penstock-slack"}[severity]
    done = _run(
        *(amtool, "config", "routes", "test", f"--config.file={MONITORING / 'alertmanager.yml'}"),
        *(f"--verify.receivers={receiver}", f"alertname={alert}", f"severity={severity}", "queue=a"),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_somebody_elses_alerts_go_to_neither(amtool: str) -> None:
    done = _run(
        *(amtool, "config", "routes", "test", f"--config.file={MONITORING / 'alertmanager.yml'}"),
        *("--verify.receivers=nobody", "alertname=DiskFull", "severity=critical"),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_example_with_the_rules_where_it_looks_for_them(promtool: str, tmp_path: Path) -> None:
    text = (MONITORING / "prometheus.yml").read_text()
    place = "/etc/prometheus/rules/penstock.yml"
    assert text.count(f"  - {place}") == 1
    copy = tmp_path / "prometheus.yml"
    copy.write_text(text.replace(f"  - {place}", f"  - {MONITORING / 'alerts.yml'}"))
    done = _run(promtool, "check", "config", "--lint-fatal", copy)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = {one["job_name"]: one for one in yaml.safe_load(text)["scrape_configs"]}
    for job in ("penstock-worker", "penstock-exporter"):
        assert all(one["labels"]["queue"] for one in jobs[job]["static_configs"]), "the rules tell queues apart by it"
