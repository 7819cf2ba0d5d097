"""The Helm chart as tests see it: rendered by Helm's own SDK, without a cluster, and read back as objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHART = Path(__file__).parents[2] / "helm" / "penstock"
VALUE_FILES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
RELEASE = "penstock"
NAMESPACE = "uploads"
NOTES = "NOTES.txt"

Object = dict[str, Any]
MINIMAL: Object = {"image": {"repository": "registry.example/penstock"}, "redis": {"url": "redis://redis.example/0"}}


@dataclass(frozen=True)
class Rendered:
    """One release: the texts of its files, its objects in the order of the files, and the notes for the operator."""

    files: Mapping[str, str] = field(repr=False)

    @cached_property
    def objects(self) -> list[Object]:
        manifests = [text for name, text in sorted(self.files.items()) if not name.endswith(NOTES)]
        # libyaml's loader: ten times as fast, and just as safe.
        return [one for text in manifests for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]

    @property
    def notes(self) -> str:
        return next(text for name, text in self.files.items() if name.endswith(NOTES))

    def one(self, kind: str, name: str = "") -> Object:
        """The only object of a kind whose name ends like this."""
        found = [one for one in self.of(kind) if one["metadata"]["name"].endswith(name)]
        assert len(found) == 1, f"{len(found)} × {kind} …{name}: {[one['metadata']['name'] for one in found]}"
        return found[0]

    def of(self, *kinds: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] in kinds]

    def workloads(self) -> list[Object]:
        return self.of("Deployment", "StatefulSet")


@cache
def chart() -> helm.Chart:
    return helm.Chart.load(CHART)


def render(values: Mapping[str, Any], release: str = RELEASE) -> Rendered:
    """Raises HelmValuesError when the schema refuses the values, HelmRenderError when the templates do."""
    return Rendered(chart().render(dict(values), name=release, namespace=NAMESPACE))


@cache
def rendered(name: str) -> Rendered:
    """One of the chart's own value files, rendered once for all tests."""
    return render(values_of(name))


def values_of(name: str) -> Object:
    values: Object = yaml.safe_load(VALUE_FILES[name].read_text(encoding="utf-8"))
    return values


def minimal(**more: Any) -> Object:
    """The least that the chart takes, and what a test is about."""
    return {**MINIMAL, **more}


def pod(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Object) -> Object:
    """The pod's only container."""
    (only,) = pod(workload)["containers"]
    assert isinstance(only, dict)
    return only


def env(workload: Object) -> dict[str, Object]:
    """The container's variables by name."""
    return {one["name"]: one for one in container(workload)["env"]}
