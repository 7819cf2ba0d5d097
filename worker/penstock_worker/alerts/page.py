"""docs/alerts.md: the alerts and their thresholds, from the rules' own words."""

from __future__ import annotations

import re

from penstock_worker.alerts.render import rules
from penstock_worker.alerts.rule import WHICH
from penstock_worker.alerts.thresholds import THRESHOLDS, Threshold, shown

HEAD = """\
# Alerts and thresholds

<!-- Made from the code: `make monitoring` writes this page, so change penstock_worker/alerts instead. -->

[monitoring.md](monitoring.md) says how to install them, the [runbook](runbook.md) what to do when one fires.

| alert | severity | after | what it says |
| --- | --- | --- | --- |
"""

THRESHOLDS_HEAD = """
Each threshold is an option of `penstock alerts render` (`--oldest-low 7200`) and a value of the chart
(`alerts.thresholds.oldest_low`). Shares are between 0 and 1; ages, latencies and clocks are in seconds.

| threshold | default | from, to | what it is |
| --- | --- | --- | --- |
"""

_TEMPLATE = re.compile(r"\{\{.*?\}\}")


def page() -> str:
    """The whole page."""
    listed = [rule for group in rules({})["groups"] for rule in group["rules"]]
    lines = [
        f"| [`{rule['alert']}`](runbook.md#{rule['alert'].lower()}) | {rule['labels']['severity']} |"
        f" {rule.get('for', 'at once')} | {_plain(rule['annotations']['description'])} |\n"
        for rule in listed
    ]
    return HEAD + "".join(lines) + THRESHOLDS_HEAD + "".join(map(_row, THRESHOLDS.values()))


def _plain(description: str) -> str:
    """A description without its templates: values and labels are an ellipsis, the queue's name is left out."""
    return _TEMPLATE.sub("…", description.replace(WHICH, ""))


def _row(one: Threshold) -> str:
    limits = "" if one.least is None else f"{shown(one.least)}, {shown(one.most)}"
    return f"| `{one.name}` | `{_cell(shown(one.default))}` | {limits} | {_cell(one.sentence)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
