"""The rules as text: for Prometheus, with values, and for the chart, with Helm's expressions in their place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from penstock_worker.alerts import queue_rules, s3_rules, worker_rules
from penstock_worker.alerts.rule import WHICH, Group, Rule
from penstock_worker.alerts.thresholds import THRESHOLDS, Value, shown

GROUPS: tuple[Group, ...] = (s3_rules.GROUP, queue_rules.GROUP, worker_rules.WORKERS, worker_rules.REDIS)

HEAD = """\
# Alert rules for Prometheus. Made from the code: `penstock alerts render` writes them with other thresholds,
# `make monitoring` writes this file.
"""
CHART_HEAD = """\
# Alert rules, for `tpl`: each threshold is the chart's value of its name. Made from the code by `make monitoring`.
"""
THRESHOLDS_HEAD = """\
# The thresholds of rules.yaml, for the chart's values and their schema. Made from the code by `make monitoring`.
"""

_PLACE = re.compile(r"<([a-z0-9_]+)>")
_ACTION = re.compile(r"\{\{.*?\}\}")


def rules(values: Mapping[str, Value]) -> dict[str, Any]:
    """All rules as Prometheus reads them, with these thresholds and the defaults of the others."""
    return _document(lambda name: shown(values.get(name, THRESHOLDS[name].default)), lambda text: text)


def rules_yaml(values: Mapping[str, Value], head: str = HEAD) -> str:
    """The same as a file."""
    return head + _yaml(rules(values))


def chart_rules_yaml() -> str:
    """The rules as a text for Helm's ``tpl``, which leaves Prometheus's own templates as they are."""
    document = _document(
        lambda name: f"{{{{ .Values.alerts.thresholds.{name} }}}}", lambda text: _ACTION.sub(r"{{`\g<0>`}}", text)
    )
    return CHART_HEAD + _yaml(document)


def thresholds_yaml() -> str:
    """The thresholds as a list in YAML: name, default, unit, range and sentence."""
    lines = [THRESHOLDS_HEAD.rstrip()]
    for one in THRESHOLDS.values():
        lines.append(f"- name: {one.name}")
        fields = {"default": one.default, "unit": one.unit, "min": one.least, "max": one.most, "pattern": one.pattern}
        for field, value in {**fields, "sentence": one.sentence}.items():
            if value is not None:
                text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else shown(value)
                lines.append(f"  {field}: {text}")
    return "\n".join(lines) + "\n"


def _document(value: Callable[[str], str], literal: Callable[[str], str]) -> dict[str, Any]:
    def fill(text: str) -> str:
        return _PLACE.sub(lambda match: value(match[1]), literal(text.replace("<which>", WHICH)))

    def entry(rule: Rule) -> dict[str, Any]:
        wait = {} if rule.wait is None else {"for": value(rule.wait)}
        annotations = {
            "summary": fill(rule.summary),
            "description": fill(rule.description),
            "runbook_url": f"{value('runbook_url')}#{rule.alert.lower()}",
        }
        labels = {"severity": rule.severity}
        return {"alert": rule.alert, "expr": fill(rule.expr), **wait, "labels": labels, "annotations": annotations}

    return {"groups": [{"name": group.name, "rules": [entry(rule) for rule in group.rules]} for group in GROUPS]}


def _yaml(document: Mapping[str, Any]) -> str:
    """The document as YAML that people can read. Texts are quoted as JSON quotes them, which YAML takes too."""
    lines = ["groups:"]
    for group in document["groups"]:
        lines += [f"  - name: {group['name']}", "    rules:"]
        for rule in group["rules"]:
            lines += [f"      - alert: {rule['alert']}", "        expr: |-"]
            lines += [f"          {line}" for line in rule["expr"].splitlines()]
            if "for" in rule:
                lines.append(f"        for: {rule['for']}")
            for field in ("labels", "annotations"):
                lines.append(f"        {field}:")
                lines += [f"          {name}: {_quoted(text)}" for name, text in rule[field].items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text if text.isalpha() else json.dumps(text, ensure_ascii=False)
