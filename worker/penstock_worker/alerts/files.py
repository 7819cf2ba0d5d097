"""The files that are made from the rules. ``python -m penstock_worker.alerts.files`` writes them: `make monitoring`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from penstock_worker.alerts.page import page
from penstock_worker.alerts.render import chart_rules_yaml, rules_yaml, thresholds_yaml

FILES: Mapping[str, Callable[[], str]] = {
    "monitoring/alerts.yml": lambda: rules_yaml({}),
    "docs/alerts.md": page,
    "helm/penstock/files/rules.yaml": chart_rules_yaml,
    "helm/penstock/files/thresholds.yaml": thresholds_yaml,
}
"""Paths in the repository, and what makes the text of each."""


def write(root: Path) -> None:
    """Writes all of them below ``root``."""
    for name, make in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
