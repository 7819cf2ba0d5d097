"""What a PromQL expression asks for, found by parsing it."""

from __future__ import annotations

from dataclasses import dataclass

import promql_parser
from promql_parser import AggModifierType, AggregateExpr, Expr, MatchOp, VectorSelector


@dataclass(frozen=True, slots=True)
class Selected:
    """One selector. ``matchers``: values that a label may have, by label. ``within``: the aggregation right around it.
    ``by``: all labels that aggregations around it keep, and ``left``: those that the outermost one keeps."""

    metric: str
    matchers: dict[str, set[str]]
    within: str
    by: set[str]
    left: set[str]


def selected(text: str) -> list[Selected]:
    """Its selectors. Raises ValueError when it is no PromQL."""
    found: list[Selected] = []
    around: list[AggregateExpr] = []

    def enter(node: Expr) -> bool:
        if isinstance(node, AggregateExpr):
            around.append(node)
        elif isinstance(node, VectorSelector):
            found.append(_selected(node, around))
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(_selected(node.vector_selector, around))
        return True

    def leave(node: Expr) -> bool:
        if isinstance(node, AggregateExpr):
            around.pop()
        return True

    promql_parser.walk(promql_parser.parse(text), enter, leave)
    return found


def _selected(node: VectorSelector, around: list[AggregateExpr]) -> Selected:
    matchers: dict[str, set[str]] = {}
    for one in node.matchers.matchers:
        assert one.op in (MatchOp.Equal, MatchOp.Re), f"{one}: only = and =~ are understood here"
        matchers[one.name] = set(one.value.split("|")) if one.op == MatchOp.Re else {one.value}
    kept: list[set[str]] = []
    for aggregation in around:
        by = aggregation.modifier
        assert by is None or by.type == AggModifierType.By, "only `by` is understood here"
        kept.append(set() if by is None else set(by.labels))
    within = str(around[-1].op) if around else ""
    return Selected(node.name or "", matchers, within, set().union(*kept), kept[0] if kept else set())
