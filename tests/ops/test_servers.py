"""The starters of Prometheus and Alertmanager: what they are given is scraped, evaluated and handed on."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.prometheus import AlertmanagerProcess, PrometheusProcess
from tests.support.wait import wait_until

LIMIT = 30.0
"""Seconds, against hangs only."""


def test_an_alert_of_a_rule_reaches_the_alertmanager(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    always = {"alert": "Always", "expr": 'up{job="itself", queue="q"} == 0'}
    rules.write_text(json.dumps({"groups": [{"name": "test", "rules": [always]}]}))
    for name in ("prometheus", "alertmanager"):
        (tmp_path / name).mkdir()
    settings = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    with AlertmanagerProcess(tmp_path / "alertmanager", settings) as manager:
        jobs = {"itself": ["127.0.0.1:1"], "manager": [manager.address]}
        with PrometheusProcess(
            tmp_path / "prometheus", jobs, labels={"queue": "q"}, rules=[rules], alertmanager=manager.address
        ) as prometheus:
            wait_until(lambda: prometheus.healthy_targets() == 1, LIMIT, "it scraped the one that answers")
            assert [one["value"][1] for one in prometheus.query('up{job="manager"}')] == ["1"]
            wait_until(prometheus.alerts, LIMIT, "the rule fires")
            (alert,) = wait_until(manager.alerts, LIMIT, "the alert arrived")
            assert alert["labels"]["alertname"] == "Always"
        assert not prometheus.ready()
