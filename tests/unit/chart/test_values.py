"""What the chart refuses, and how clearly; and that its schema is the code's."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import helm_python as helm
import pytest

from helm.schema import SCHEMA, VALUES, known_thresholds, schema_text, values_text
from penstock_worker.settings import setting_names
from tests.support.chart import CHART, VALUE_FILES, Object, chart, minimal, render, rendered, values_of

UNKNOWN: list[Object] = [
    {"replicas": 3},
    {"settings": {"batch_max_itemz": 5}},
    {"settings": {"redis_url": "redis://elsewhere"}},
    {"worker": {"resourcez": {}}},
    {"redis": {"url": "redis://x", "password": "y"}},
    {"aws": {"existingSecret": {"nam": "x"}}},
    {"valkey": {"auth": True}},
    {"alerts": {"thresholds": {"least_request": 1}}},
    {"autoscaling": {"min": 1}},
    {"image": {"repository": "a", "version": "1"}},
    {"worker": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}]}},
]
WRONG: list[tuple[str, Any]] = [
    ("settings/batch_max_items", 0),
    ("settings/batch_max_items", "25"),
    ("settings/batch_max_bytes", "8 parsecs"),
    ("settings/memory_budget", 1.5),
    ("settings/queue", "a queue"),
    ("settings/s3_engine", "minio"),
    ("settings/s3_expected_owner", 123456789012),
    ("settings/stop_timeout", 0),
    ("settings/sidecar_host", "127.0.0.1"),
    ("settings/sidecar_host", "localhost"),
    ("settings/sidecar_port", 0),
    ("settings/sidecar_port", 80),
    ("image/tag", "latest"),
    ("image/digest", "sha256:short"),
    ("redis/url", "localhost:6379"),
    ("aws/accessKeyId", "two\nlines"),
    ("worker/replicas", -1),
    ("worker/resources/requests/cpu", "much"),
    ("worker/podAnnotations/note", 5),
    ("worker/extraEnv", [{"name": "PENSTOCK_BUCKET", "value": "x"}]),
    ("podDisruptionBudget/maxUnavailable", 0),
    ("podMonitor/interval", "often"),
    ("autoscaling/oldestAgeSeconds", 0),
    ("valkey/password", "short"),
    ("valkey/password", "with spaces and @ in it"),
    ("valkey/appendfsync", "no"),
    ("alerts/thresholds/s3_error_share_warning", 5),
    ("alerts/thresholds/s3_error_window_warning", "soon"),
    ("alerts/thresholds/runbook_url", 'https://x"}'),
]
KEDA = {"enabled": True, "prometheusAddress": "http://prometheus"}
CONTRADICTIONS: list[tuple[Object, str]] = [
    ({"image": {"repository": ""}}, "image.repository"),
    ({"redis": {"url": ""}}, "redis.existingSecret.name, redis.url, or for a trial valkey.enabled=true"),
    ({"redis": {"url": "redis://a", "existingSecret": {"name": "b"}}}, "redis.url and redis.existingSecret.name"),
    ({"valkey": {"enabled": True, "password": "x" * 16}}, "redis.url and valkey.enabled"),
    ({"redis": {"url": ""}, "valkey": {"enabled": True}}, "set valkey.password"),
    ({"aws": {"accessKeyId": "AKIA"}}, "set both, or none"),
    ({"aws": {"accessKeyId": "a", "secretAccessKey": "b", "existingSecret": {"name": "c"}}}, "keep one of them"),
    ({"autoscaling": {"enabled": True}}, "autoscaling.prometheusAddress"),
    ({"autoscaling": {**KEDA, "minReplicas": 5, "maxReplicas": 4}}, "must not be above"),
    ({"autoscaling": {**KEDA, "minReplicas": 0}, "exporter": {"enabled": False}}, "exporter.enabled=true"),
    ({"autoscaling": {**KEDA, "minReplicas": 0}, "alerts": {"enabled": True}}, "worker_missing_writes=1"),
    ({"alerts": {"thresholds": {"s3_error_window_warning": "1s"}}}, "must be from 5s to 7d"),
    ({"alerts": {"thresholds": {"s3_error_window_warning": "8d"}}}, "must be from 5s to 7d"),
]


@pytest.mark.parametrize("more", UNKNOWN, ids=str)
def test_an_unknown_value_is_refused(more: Object) -> None:
    with pytest.raises(helm.HelmValuesError, match=r"additional properties|missing propert"):
        render(minimal(**more))


@pytest.mark.parametrize(("path", "value"), WRONG, ids=str)
def test_a_wrong_value_is_refused_by_its_name(path: str, value: object) -> None:
    more: Any = value
    for name in reversed(path.split("/")):
        more = {name: more}
    with pytest.raises(helm.HelmValuesError, match=re.escape(f"at '/{path}")):
        render(minimal(**more))


@pytest.mark.parametrize("url", ["redis+sentinel://a:26379,b:26379/queue/0", "rediss+cluster://u:p@a:6379,b:6379"])
def test_every_kind_of_address_is_taken(url: str) -> None:
    assert render(minimal(redis={"url": url})).one("Secret")["stringData"] == {"redis-url": url}


def test_what_the_templates_need_cannot_be_taken_away() -> None:
    with pytest.raises(helm.HelmValuesError, match="missing property 'stop_timeout'"):
        render(minimal(settings={"stop_timeout": None}))
    with pytest.raises(helm.HelmValuesError, match="missing property 'least_requests'"):
        render(minimal(alerts={"thresholds": {"least_requests": None}}))
    with pytest.raises(helm.HelmValuesError, match="missing property 'memory'"):
        render(minimal(worker={"resources": {"limits": {"memory": None}}}))


def test_the_labels_that_selectors_use_cannot_be_replaced() -> None:
    with pytest.raises(helm.HelmValuesError, match=re.escape("invalid propertyName 'app.kubernetes.io/name'")):
        render(minimal(worker={"podLabels": {"app.kubernetes.io/name": "another"}}))


@pytest.mark.parametrize(("more", "message"), CONTRADICTIONS, ids=[message for _, message in CONTRADICTIONS])
def test_values_that_contradict_each_other_are_refused_with_the_remedy(more: Object, message: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=re.escape(message)):
        render(minimal(**more))


def test_the_schema_and_the_thresholds_are_made_from_the_code() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(SCHEMA.read_text(encoding="utf-8")), "run make chart"
    assert VALUES.read_text(encoding="utf-8") == values_text(VALUES.read_text(encoding="utf-8")), "run make chart"


def test_every_setting_has_a_place() -> None:
    schema = chart().schema
    assert schema is not None
    settings = schema["properties"]["settings"]["properties"]
    assert sorted([*settings, "redis_url"]) == sorted(setting_names())


def test_every_threshold_is_a_value_with_its_default_and_range() -> None:
    schema = chart().schema
    assert schema is not None
    thresholds = schema["properties"]["alerts"]["properties"]["thresholds"]["properties"]
    known = known_thresholds()
    assert chart().values["alerts"]["thresholds"] == {one["name"]: one["default"] for one in known}
    assert list(thresholds) == [one["name"] for one in known]
    for one in known:
        if not isinstance(one["default"], str):
            limits = thresholds[one["name"]]
            assert (limits["minimum"], limits["maximum"]) == (float(one["min"]), float(one["max"]))


def test_every_value_has_a_schema_that_admits_no_other_name() -> None:
    schema = chart().schema
    assert schema is not None
    _compare(chart().values, schema, schema["definitions"], "values")
    assert set(schema["properties"]) == {*chart().values, "global"}


def _compare(values: Any, schema: Object, definitions: Object, where: str) -> None:
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(values, dict) and "properties" in schema:
        assert schema["additionalProperties"] is False, where
        for name, value in values.items():
            assert name in schema["properties"], f"{where}.{name} has no schema"
            _compare(value, schema["properties"][name], definitions, f"{where}.{name}")


@pytest.mark.parametrize("name", ["everything", "valkey", "credentials-file", "existing-secrets"])
def test_every_value_changes_something(name: str) -> None:
    whole = rendered(name).files
    for path in _leaves(values_of(name)):
        values = values_of(name)
        inner = values
        for part in path[:-1]:
            inner = inner[part]
        del inner[path[-1]]
        with contextlib.suppress(helm.HelmRenderError):  # it cannot be done without
            assert render(values).files != whole, f"{'.'.join(path)} changes nothing"


def test_every_value_is_tried_in_some_file() -> None:
    tried = {path for name in VALUE_FILES for path in _leaves(values_of(name))}
    names = [path for path in _leaves(chart().values) if path[:2] != ("alerts", "thresholds")]
    untried = {path for path in names if not any(one[: len(path)] == path for one in tried)}
    assert {path for path in untried if path[0] != "valkey"} == {("fullnameOverride",)}


def _leaves(values: Object, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, value in values.items():
        path = (*prefix, name)
        found += _leaves(value, path) if isinstance(value, dict) and value else [path]
    return found


def test_a_release_by_another_name_has_other_names() -> None:
    there = {one["metadata"]["name"] for one in rendered("minimal").objects}
    here = {one["metadata"]["name"] for one in render(values_of("minimal"), release="second").objects}
    assert {name.replace("penstock", "second-penstock", 1) for name in there} == here
    named = render(minimal(fullnameOverride="s3-uploads"))
    assert named.one("Deployment", "worker")["metadata"]["name"] == "s3-uploads-worker"
    longest = render(values_of("everything"), release="a" * 53).objects
    assert max(len(one["metadata"]["name"]) for one in longest) <= 63


def test_the_notes_name_the_release_and_what_is_off() -> None:
    notes = rendered("minimal").notes
    assert "deployment/penstock-worker -- penstock doctor" in notes
    assert "podMonitor.enabled is false" in notes
    assert "alerts.enabled is false" in notes
    assert "penstock-valkey.uploads:6379" in rendered("valkey").notes
    assert "is false" not in rendered("everything").notes


def test_value_files_are_not_part_of_the_package() -> None:
    assert len(VALUE_FILES) >= 6
    assert not [one["name"] for one in chart().files if one["name"].startswith("ci/")]
    assert (CHART / "ci").is_dir()
