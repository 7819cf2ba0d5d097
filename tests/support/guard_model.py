"""What the guard's two calls do, in the model of the queue."""

from __future__ import annotations

from dataclasses import replace

from penstock.queue.contested import Judged, Verdict
from tests.support.queue_model import QueueModel
from tests.support.queue_parts import Name


def guard_due(model: QueueModel, limit: int, hold: float, busy: float) -> tuple[int, list[tuple[bytes, int]]]:
    """How many marks go without a look, and the names to look at with what is retained."""
    cleared, looks = 0, []
    for look, name in sorted((mark.look, name) for name, mark in model.marks.items())[:limit]:
        mark = model.marks[name]
        if look > model.now:
            break
        if name in model.names:
            mark.look = model.now + round(busy * 1e6)
        elif mark.retained is None:
            del model.marks[name]
            cleared += 1
        else:
            mark.look = model.now + round(hold * 1e6)
            looks.append((name, mark.retained.seq))
    return cleared, looks


def judge(model: QueueModel, name: bytes, generation: int, verdict: Verdict, recheck: float) -> Judged:
    mark = model.marks.get(name)
    if mark is None or mark.generation != generation or mark.deadline > model.now:
        return Judged.CHANGED
    if name in model.names:
        return Judged.BUSY
    if verdict is Verdict.FINE:
        del model.marks[name]
        return Judged.CLEARED
    assert mark.retained is not None
    model.names[name] = Name(replace(mark.retained, since=model.now))
    mark.look = model.now + round(recheck * 1e6)
    return Judged.REPAIR_QUEUED
