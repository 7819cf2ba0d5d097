"""What a rule is, and the parts of expressions that several rules share.

``<name>`` in a rule stands for the threshold of that name, and ``<which>`` for the queue in words. Queues are told
apart by the target labels ``namespace`` and ``queue``, whichever job and instance their numbers come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["warning", "critical"]

WHICH = "{{ with $labels.queue }} of queue {{ . }}{{ end }}"
"""Nothing where one Prometheus sees one queue, without a label."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule. ``wait`` is the threshold for how long the expression must hold; None: not at all."""

    alert: str
    severity: Severity
    expr: str
    summary: str
    description: str
    wait: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    rules: tuple[Rule, ...]


def total(function: str, selector: str, window: str) -> str:
    """What all workers of a queue counted together: each counts for itself, so this is a sum."""
    return f"sum by (namespace, queue) ({function}({selector}[<{window}>]))"


def held(states: str, modifier: str = "") -> str:
    """Writes of a queue in these states. Every worker and exporter shows the same numbers, so they are not added up."""
    writes = f'penstock_queue_writes{{state=~"{states}"}}{modifier}'
    return f"sum by (namespace, queue) (max by (namespace, queue, state, priority) ({writes}))"
