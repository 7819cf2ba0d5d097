"""All measures, in the order in which they run and stand in the table."""

from __future__ import annotations

from benchmarks.measures import critical, drain, drain_large, enqueue, far_store, memory, resources
from benchmarks.rounds import Measure

MEASURES: tuple[Measure, ...] = (
    *enqueue.MEASURES,
    *drain.MEASURES,
    *drain_large.MEASURES,
    *far_store.MEASURES,
    *critical.MEASURES,
    *resources.MEASURES,
    *memory.MEASURES,
)
