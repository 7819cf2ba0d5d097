"""The dashboard as its JSON has it, for who runs its expressions elsewhere than in Grafana: tests and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """One expression. ``name`` of its series, with ``{{label}}`` for a label's value."""

    expr: str
    name: str
    instant: bool

    def series(self, labels: Mapping[str, str]) -> str:
        """The name of the series with these labels."""
        found = self.name
        for label, value in labels.items():
            found = found.replace(f"{{{{{label}}}}}", value)
        return found


class Panel:
    """One panel. ``raw`` is its JSON."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.title = str(raw["title"])
        self.kind = str(raw["type"])
        self.targets = [
            Target(one["expr"], one["legendFormat"], bool(one.get("instant"))) for one in raw.get("targets", ())
        ]

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What holds for all its series."""
        found: Mapping[str, Any] = self.raw["fieldConfig"]["defaults"]
        return found

    @property
    def unit(self) -> str:
        return str(self.defaults.get("unit", ""))

    @property
    def stacked(self) -> bool:
        return "stacking" in self.defaults.get("custom", {})

    def steps(self, series: str = "") -> list[tuple[float, str]]:
        """From where on a number of the series has which colour, upwards; the lowest begins at minus infinity."""
        own = self.override(series, "thresholds")
        found = (own or self.defaults.get("thresholds", {})).get("steps", ())
        return [(float("-inf") if one["value"] is None else one["value"], one["color"]) for one in found]

    def override(self, series: str, name: str) -> Any:
        """What holds for one series alone; None when nothing does."""
        for one in self.raw["fieldConfig"]["overrides"]:
            if one["matcher"] == {"id": "byName", "options": series}:
                for held in one["properties"]:
                    if held["id"] == name:
                        return held["value"]
        return None


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: list[Panel]


def read(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """The whole JSON, and its rows."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    rows: list[Row] = []
    for panel in raw["panels"]:
        if panel["type"] == "row":
            rows.append(Row(panel["title"], []))
        else:
            rows[-1].panels.append(Panel(panel))
    return raw, rows


def filled(
    expr: str,
    *,
    queue: str = ".*",
    job: str = ".+",
    instance: str = ".+",
    window: int,
    step: int = 1,
    whole: int | None = None,
) -> str:
    """The expression with Grafana's variables in it.

    Args:
        queue, job, instance: regular expressions.
        window: seconds of ``$__rate_interval``.
        step: seconds of ``$__interval``.
        whole: seconds of ``$__range``; the window's when not given.
    """
    values = {
        "$__rate_interval": f"{window}s",
        "$__interval_ms": str(1000 * step),
        "$__interval": f"{step}s",
        "$__range": f"{whole or window}s",
        "$queue": queue,
        "$job": job,
        "$instance": instance,
    }
    for name, value in values.items():
        expr = expr.replace(name, value)
    return expr
