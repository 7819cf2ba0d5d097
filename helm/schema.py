"""Writes what the chart takes from the code: the schema of ``settings`` and of ``alerts.thresholds``, and their values.

``python -m helm.schema`` is `make chart`; a test fails when it was forgotten. The rest of values.schema.json and of
values.yaml is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import yaml

from penstock.settings import ByteSize
from penstock_worker.settings import WorkerSettings

CHART = Path(__file__).parent / "penstock"
VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"
THRESHOLDS = CHART / "files" / "thresholds.yaml"

ELSEWHERE = ("redis_url",)
"""Settings that may be secret: they have values of their own and go into a Secret."""
NEEDED = ("stop_timeout", "sidecar_host", "sidecar_port")
"""What the templates themselves read."""
LOOPBACK = r"^(127\.|localhost$|::1$)"
MARK = (
    "  # Made by `make chart` from files/thresholds.yaml; docs/runbook.md says what each alert means.\n  thresholds:\n"
)
WIDTH = 200
NAME = 24
"""Room for the name before a value."""

_SIZE = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": "^ *[0-9]{1,18} *([bB]|[kKmMgG]([iI]?[bB])?)? *$"},
    ]
}


def settings() -> dict[str, Any]:
    """JSON Schema of the worker's settings, as a TOML file holds them."""
    properties: dict[str, Any] = {}
    for field in msgspec.structs.fields(WorkerSettings):
        if field.name in ELSEWHERE:
            continue
        schema = msgspec.json.schema(field.type, schema_hook=lambda kind: dict(_SIZE) if kind is ByteSize else {})
        schema.pop("$defs", None)
        properties[field.name] = _for_go(schema)
    properties["sidecar_host"]["not"] = {"pattern": LOOPBACK}
    # Nobody but root binds a lower one, and 0 would be another one each time.
    properties["sidecar_port"] |= {"description": "their port", "minimum": 1024}
    return {"type": "object", "required": list(NEEDED), "additionalProperties": False, "properties": properties}


def thresholds(known: list[dict[str, Any]]) -> dict[str, Any]:
    """JSON Schema of the alert rules' thresholds."""
    properties: dict[str, Any] = {}
    for one in known:
        schema: dict[str, Any] = {"description": one["sentence"]}
        if isinstance(one["default"], str):
            schema |= {"type": "string", "pattern": f"^({one.get('pattern', '[0-9]{1,6}[smhd]')})$"}
        else:
            schema |= {"type": "number", "minimum": float(one["min"]), "maximum": float(one["max"])}
        properties[one["name"]] = schema
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def known_thresholds() -> list[dict[str, Any]]:
    known: list[dict[str, Any]] = yaml.safe_load(THRESHOLDS.read_text(encoding="utf-8"))
    return known


def schema_text(text: str) -> str:
    """values.schema.json with the two parts made anew."""
    whole = json.loads(text)
    whole["properties"]["settings"] = settings()
    whole["properties"]["alerts"]["properties"]["thresholds"] = thresholds(known_thresholds())
    return pretty(whole) + "\n"


def values_text(text: str) -> str:
    """values.yaml, whose end is the thresholds' defaults."""
    before, mark, _ = text.partition(MARK)
    return (
        before
        + mark
        + "".join(
            f"    {one['name']}: {json.dumps(one['default'])} # {one['sentence']}\n" for one in known_thresholds()
        )
    )


def pretty(value: Any, depth: int = 0) -> str:
    """JSON with what is described, or fits, on one line."""
    flat = json.dumps(value, ensure_ascii=False)
    pad = "  " * (depth + 1)
    if not isinstance(value, dict) or "description" in value or len(flat) + len(pad) <= WIDTH - NAME:
        return flat
    inner = [f"{pad}{json.dumps(name)}: {pretty(item, depth + 1)}" for name, item in value.items()]
    return "{\n" + ",\n".join(inner) + "\n" + "  " * depth + "}"


def _for_go(value: Any) -> Any:
    r"""Go's regular expressions have no ``\Z``; its ``$`` means the same."""
    if isinstance(value, dict):
        return {name: item.replace(r"\Z", "$") if name == "pattern" else _for_go(item) for name, item in value.items()}
    return [_for_go(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(SCHEMA.read_text(encoding="utf-8")), encoding="utf-8")
    VALUES.write_text(values_text(VALUES.read_text(encoding="utf-8")), encoding="utf-8")
