"""docs/kubernetes.md: what it tells operators to write is what the chart takes."""

from __future__ import annotations

import re
from functools import reduce
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, Object, chart, minimal, render

PAGE = (CHART.parents[1] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
PARTS = "|".join(chart().values)
NAMED = sorted(set(re.findall(rf"`((?:{PARTS})(?:\.\w+)+)`", PAGE)))
GIVEN = sorted(set(re.findall(rf"(?:--set |`)((?:{PARTS})(?:\.\w+)+)(?:=|: )", PAGE)))


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_is_accepted(example: Object) -> None:
    values = example if "redis" in example else minimal(**example)
    assert render(values).one("Deployment", "worker")


@pytest.mark.parametrize("name", NAMED + GIVEN)
def test_a_value_that_the_page_names_exists(name: str) -> None:
    schema = chart().schema
    assert schema is not None

    def step(at: Object, part: str) -> Any:
        at = schema["definitions"][at["$ref"].rpartition("/")[2]] if "$ref" in at else at
        return at.get("properties", {part: {}})[part]  # what has none is open

    reduce(step, name.split("."), schema)


def test_the_page_names_values_at_all() -> None:
    assert len(NAMED) > 10
    assert len(EXAMPLES) == 2
