"""docs/logs.md says of every event what the code logs: none is missing, none has vanished, and its fields are right."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

import penstock_worker
from penstock_worker.metrics import WRITE_OUTCOMES

LEVELS = {"debug", "info", "warning", "error", "critical"}
PACKAGE = Path(penstock_worker.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "logs.md"

OUTCOMES = "{outcome: tally[outcome] for outcome in WRITE_OUTCOMES}"
"""The one group of fields that the code does not write out."""


@dataclass
class Event:
    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
    ]


def _logged() -> dict[str, Event]:
    events: dict[str, Event] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in _calls(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{call.lineno}"
            assert len(call.args) == 1, where
            name = call.args[0]
            assert isinstance(name, ast.Constant), f"{where}: an event has a constant name, so that it can be looked up"
            assert re.fullmatch("[a-z0-9]+(_[a-z0-9]+)*", str(name.value)), where
            assert isinstance(call.func, ast.Attribute)
            event = events.setdefault(str(name.value), Event())
            event.levels.add(call.func.attr)
            for keyword in call.keywords:
                if keyword.arg is not None:
                    event.fields.add("exception" if keyword.arg == "exc_info" else keyword.arg)
                else:
                    assert ast.unparse(keyword.value) == OUTCOMES, f"{where}: fields must be written out"
                    event.fields.update(WRITE_OUTCOMES)
    return events


def _documented() -> dict[str, Event]:
    """The rows of the page's tables: event, level, when, fields, what to do."""
    events: dict[str, Event] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        assert len(cells) == 5, line
        name, level, when, fields, remedy = cells
        assert when, line
        assert remedy, line
        assert name.strip("`") not in events, f"{name} has two rows"
        events[name.strip("`")] = Event({level}, set(re.findall("`([a-z0-9_]+)`", fields)))
    return events


def test_every_event_is_documented_with_its_level_and_its_fields() -> None:
    logged, documented = _logged(), _documented()
    assert len(logged) > 20, "the walk through the code finds too few"
    assert sorted(logged.keys() - documented.keys()) == [], "not in docs/logs.md"
    assert sorted(documented.keys() - logged.keys()) == [], "in docs/logs.md, but logged nowhere"
    for name, event in logged.items():
        assert event.levels == documented[name].levels, name
        assert event.fields == documented[name].fields, name
