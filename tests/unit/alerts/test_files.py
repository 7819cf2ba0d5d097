"""The rules' files in the tree are what the code makes, and the chart's form of them makes the same rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from penstock_worker.alerts.files import FILES
from penstock_worker.alerts.render import chart_rules_yaml, rules, rules_yaml, thresholds_yaml
from penstock_worker.alerts.thresholds import THRESHOLDS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", FILES)
def test_the_file_in_the_tree_is_what_the_code_makes(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == FILES[name](), "run make monitoring"


def test_the_file_says_what_the_rules_are() -> None:
    assert yaml.safe_load(rules_yaml({})) == json.loads(json.dumps(rules({})))


def test_the_charts_list_has_every_threshold_with_its_default_and_range() -> None:
    listed = yaml.safe_load(thresholds_yaml())
    assert [one["name"] for one in listed] == list(THRESHOLDS)
    for one in listed:
        known = THRESHOLDS[one["name"]]
        expected = {"default": known.default, "min": known.least, "max": known.most, "sentence": known.sentence}
        assert {field: one.get(field) for field in expected} == expected


def test_the_charts_rules_name_every_threshold_and_keep_prometheus_templates() -> None:
    text = chart_rules_yaml()
    for name in THRESHOLDS:
        assert f"{{{{ .Values.alerts.thresholds.{name} }}}}" in text
    # What Helm's tpl does with it, by hand: raw strings as they are, values for the expressions.
    filled = text.replace("{{`", "").replace("`}}", "")
    for name, threshold in THRESHOLDS.items():
        value = threshold.default if isinstance(threshold.default, str) else f"{threshold.default:g}"
        filled = filled.replace(f"{{{{ .Values.alerts.thresholds.{name} }}}}", value)
    assert yaml.safe_load(filled) == json.loads(json.dumps(rules({})))
