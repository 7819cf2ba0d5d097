"""The dashboard's file is what its script makes, Grafana can show it, and it asks for nothing that nobody exposes."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from monitoring.dashboard import PATH, text
from monitoring.dashboard.reading import filled, read
from tests.support.exposed import exposed
from tests.support.promql import selected

RAW, ROWS = read(PATH)
PANELS = [panel for row in ROWS for panel in row.panels]
EXPOSED = exposed()
OF_TARGETS = {"queue", "job", "instance"}
"""Labels that Prometheus gives each series."""
OPEN = {"bucket", "code", "http_status", "le"} | OF_TARGETS
"""Labels whose values no list closes."""
KEPT_IN_REDIS = re.compile(r"penstock_(queue|accepted|coalesced|rejected|bucket|epoch)_")
"""What every worker and the exporter expose alike."""
UNITS = {"none", "short", "s", "percentunit", "bytes", "binBps", "wps", "reqps", "cps", "bool_yes_no"}
"""Of Grafana's, those that the pictures can draw too."""
EXPRESSIONS = sorted(
    {(panel.title, target.expr) for panel in PANELS for target in panel.targets}
    | {(one["name"], one["expr"]) for one in RAW["annotations"]["list"]}
)

every_expression = pytest.mark.parametrize(("where", "expr"), EXPRESSIONS)


def family(series: str) -> str:
    return re.sub(r"_(bucket|sum|count|total)$", "", series)


def test_the_file_is_what_make_dashboard_writes() -> None:
    assert PATH.read_text(encoding="utf-8") == text(), "run `make dashboard`"


def test_grafana_knows_it_again_and_finds_its_way_to_prometheus() -> None:
    assert RAW["uid"] == "penstock"
    assert RAW["schemaVersion"] >= 36
    assert "id" not in RAW, "a number would be another dashboard's where it is imported"
    names = [one["name"] for one in RAW["templating"]["list"]]
    assert names == ["datasource", "queue", "job", "instance"]
    source = {"type": "prometheus", "uid": "${datasource}"}
    asks = [*RAW["annotations"]["list"], *RAW["templating"]["list"][1:]]
    asks += [one for panel in PANELS for one in (panel.raw, *panel.raw["targets"])]
    assert all(one["datasource"] == source for one in asks)


def test_every_panel_says_what_it_shows() -> None:
    assert len({panel.title for panel in PANELS}) == len(PANELS) > 30
    for panel in PANELS:
        assert len(panel.raw["description"]) > 30, panel.title
        assert panel.unit in UNITS, panel.title
        assert panel.targets, panel.title
        assert all(target.name for target in panel.targets), panel.title
        assert len({one["refId"] for one in panel.raw["targets"]}) == len(panel.targets), panel.title


def test_numbers_of_now_are_never_old_ones() -> None:
    for panel in PANELS:
        assert {target.instant for target in panel.targets} == {panel.kind == "stat"}, panel.title


def test_panels_fill_their_rows_and_do_not_overlap() -> None:
    every: list[dict[str, Any]] = RAW["panels"]
    assert len({one["id"] for one in every}) == len(every)
    cells: dict[tuple[int, int], str] = {}
    for one in every:
        at = one["gridPos"]
        for x, y in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert x < 24, one["title"]
            assert (x, y) not in cells, f"{one['title']} lies on {cells[x, y]}"
            cells[x, y] = one["title"]
    heads = [one["gridPos"] for one in every if one["type"] == "row"]
    assert all((head["x"], head["w"], head["h"]) == (0, 24, 1) for head in heads)
    tops = [head["y"] for head in heads]
    bottom = max(y for _, y in cells) + 1
    for row, (top, end) in zip(ROWS, itertools.pairwise([*tops, bottom]), strict=True):
        assert all(top < panel.raw["gridPos"]["y"] < end for panel in row.panels), row.title
        assert all((23, y) in cells and (0, y) in cells for y in (top, top + 1)), row.title


def test_graphs_are_shaded_by_what_a_panel_shows() -> None:
    (shade,) = RAW["annotations"]["list"]
    assert shade["expr"] in {target.expr for panel in PANELS for target in panel.targets}


@every_expression
def test_an_expression_asks_for_what_is_exposed(where: str, expr: str) -> None:
    filled_in = filled(expr, queue="a-queue", job="a-job", instance="a-host:9191", window=60)
    assert "$" not in filled_in
    for one in selected(filled_in):
        assert one.matchers.pop("queue") == {"a-queue"}
        assert one.matchers.pop("job") == {"a-job"}
        assert one.matchers.pop("instance") == {"a-host:9191"}
        if one.metric == "up":
            continue
        assert one.metric in EXPOSED, where
        labels = EXPOSED[one.metric]
        assert one.by - OF_TARGETS <= labels.keys(), where
        for label, values in one.matchers.items():
            assert label in OPEN or values <= labels[label], where


@every_expression
def test_what_each_worker_exposes_alike_is_not_added_up(where: str, expr: str) -> None:
    for one in selected(filled(expr, window=60)):
        if one.metric == "penstock_redis_durable":
            assert one.within == "min"
        elif KEPT_IN_REDIS.match(one.metric):
            assert one.within == "max", where
        elif one.metric != "penstock_clock_skew_seconds":
            assert one.within in ("sum", "count"), where


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel.title))
def test_a_series_is_named_by_labels_that_it_has(panel: Any) -> None:
    for target in panel.targets:
        named = set(re.findall(r"{{(\w+)}}", target.name))
        for one in selected(filled(target.expr, window=60)):
            assert named == one.left - {"le"}, "two series would have one name, or one has an empty name"


def test_every_metric_of_the_code_is_shown() -> None:
    shown = {one.metric for _, expr in EXPRESSIONS for one in selected(filled(expr, window=60))}
    missing = {family(name) for name in EXPOSED if not name.endswith("_created")} - {family(name) for name in shown}
    assert missing == {"penstock_queue_bytes"}, "which penstock_queue_used shows too"


def test_variables_offer_what_is_exposed() -> None:
    for variable in RAW["templating"]["list"][1:]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
        assert asked is not None
        (one,) = selected(filled(asked[1], window=60))
        assert asked[2] == variable["name"]
        assert one.matchers["__name__"] <= EXPOSED.keys()
