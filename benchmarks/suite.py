"""All measures, in the order in which they run and stand in the table."""

from __future__ import annotations

from benchmarks.measures import enqueue
from benchmarks.rounds import Measure

MEASURES: tuple[Measure, ...] = (*enqueue.MEASURES,)
