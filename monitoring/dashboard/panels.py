"""The look of the dashboard: what a stat and a graph have in common, so that a row says only what it shows."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common, dashboard

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "#8e8e8e"
COLOURS = {
    **{"critical": RED, "high": ORANGE, "normal": BLUE, "low": GREY},
    **{"p50": GREEN, "p95": ORANGE, "p99": RED},
    **{"ok": GREEN, "stored": GREEN, "failed": RED, "dead": RED, "dead letters": RED, "error": RED, "limit": RED},
}
"""Of series by their name, wherever they appear: a colour then means the same on all panels."""

STAT_HEIGHT, GRAPH_HEIGHT = 4, 8

Steps = tuple[float, float]
"""From where on a number is orange, and from where on red."""


@dataclass(frozen=True, slots=True)
class Query:
    """``name`` of its series, with ``{{label}}`` for a label's value."""

    expr: str
    name: str
    steps: Steps | None = None
    """Of this number alone, where a stat has several."""

    def build(self, number: int) -> prometheus.Dataquery:
        built = prometheus.Dataquery().expr(self.expr).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        return built.legend_format(self.name)


@dataclass(frozen=True, slots=True)
class Stat:
    """One number, or a few, of now: an old one would be taken for news, so where there is none now, it says so."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    steps: Steps | None = None
    texts: tuple[tuple[str, str, str], ...] = ()
    """Value, the text in its place, and its colour."""
    nothing: str = "unknown"
    """In the place of no number."""
    span: int = 4
    decimals: int | None = None

    def build(self) -> stat.Panel:
        built = stat.Panel().title(self.title).description(self.description).datasource(SOURCE).unit(self.unit)
        built = built.span(self.span).height(STAT_HEIGHT).no_value(self.nothing)
        built = built.thresholds(_thresholds(self.steps))
        judged = self.steps or self.texts or any(query.steps for query in self.queries)
        built = built.color_mode(common.BigValueColorMode.BACKGROUND if judged else common.BigValueColorMode.NONE)
        built = built.graph_mode(common.BigValueGraphMode.NONE)
        built = built.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        built = built.text_mode(_NAMED if len(self.queries) > 1 else common.BigValueTextMode.VALUE)
        if self.decimals is not None:
            built = built.decimals(self.decimals)
        for number, query in enumerate(self.queries):
            built = built.with_target(query.build(number).instant())
            if query.steps is not None:
                steps = dashboard.DynamicConfigValue("thresholds", _thresholds(query.steps).build())
                built = built.override_by_name(query.name, [steps])
        return built.mappings(_mappings(self.texts, self.nothing))


_NAMED = common.BigValueTextMode.VALUE_AND_NAME


@dataclass(frozen=True, slots=True)
class Graph:
    """Series over time. ``steps`` are drawn as lines; ``stacked`` where the sum means something."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    steps: Steps | None = None
    stacked: bool = False
    span: int = 8
    highest: float | None = None
    stepped: bool = False
    """For what is on or off, and for whole numbers that stay a while."""
    signed: bool = False
    """Whether it may be below zero."""
    colours: tuple[tuple[str, str], ...] = ()

    def build(self) -> timeseries.Panel:
        built = timeseries.Panel().title(self.title).description(self.description).datasource(SOURCE).unit(self.unit)
        built = built.span(self.span).height(GRAPH_HEIGHT).line_width(1.5).show_points(common.VisibilityMode.NEVER)
        built = built.fill_opacity(40 if self.stacked else 8)
        if not self.signed:
            built = built.min(0)
        if self.highest is not None:
            built = built.max(self.highest)
        if self.stepped:
            built = built.line_interpolation(common.LineInterpolation.STEP_AFTER)
        if self.stacked:
            built = built.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
        if self.steps is not None:
            style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
            built = built.thresholds(_thresholds(self.steps)).thresholds_style(style)
        built = built.legend(
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        ).tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        for number, query in enumerate(self.queries):
            built = built.with_target(query.build(number).range())
        for name, colour in {**COLOURS, **dict(self.colours)}.items():
            if name in dict(self.colours) or self._may_have(name):
                fixed = dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
                built = built.override_by_name(name, [fixed])
        return built

    def _may_have(self, name: str) -> bool:
        """Whether a series of this panel can have the name: its own, or one that a label gives."""
        groups = {
            "{{priority}}": ("critical", "high", "normal", "low"),
            "{{outcome}}": ("ok", "stored", "failed", "dead"),
        }
        return any(name == one.name or name in groups.get(one.name, ()) for one in self.queries)


def _thresholds(steps: Steps | None) -> dashboard_builders.ThresholdsConfig:
    found = [dashboard.Threshold(None, GREEN)]
    if steps is not None:
        found += [dashboard.Threshold(at, colour) for at, colour in zip(steps, (ORANGE, RED), strict=True)]
    return dashboard_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found)


def _mappings(texts: tuple[tuple[str, str, str], ...], nothing: str) -> list[dashboard.ValueMapping]:
    """A quotient of nothing is no number: it is told like an absent one."""
    found: list[dashboard.ValueMapping] = [
        dashboard.SpecialValueMap(
            dashboard.DashboardSpecialValueMapOptions(
                dashboard.SpecialValueMatch.NULL_AND_NAN, dashboard.ValueMappingResult(text=nothing, color=GREY)
            )
        )
    ]
    if texts:
        results = {value: dashboard.ValueMappingResult(text=text, color=colour) for value, text, colour in texts}
        found.insert(0, dashboard.ValueMap(results))
    return found
