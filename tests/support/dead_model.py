"""What putting a dead letter back does, and room for others, in the model of the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.queue.results import Settled
from tests.support.queue_layout import PARKED
from tests.support.queue_parts import Name

if TYPE_CHECKING:
    from tests.support.queue_model import QueueModel


def retry_dead(model: QueueModel, seq: int, force: bool) -> str:
    if seq not in model.dead:
        return "-"
    write = model.dead[seq]
    if write.name in model.names:
        return "s" if model.names[write.name].write.seq > seq else "w"
    mark = model.marks.get(write.name)
    if not force and mark and mark.retained and mark.retained.seq > seq:
        return "s"
    if not force and any(other > seq and dead.name == write.name for other, dead in model.dead.items()):
        return "n"
    if len(model.names) + 1 > model.items_limit or model.size + write.charge > model.bytes_limit:
        return "f"
    if force:
        model.forced.add(write.name)
    del model.dead[seq]
    model.names[write.name] = Name(write)
    return "q"


def move_parked(model: QueueModel, limit: int) -> tuple[int, bool]:
    """A sweep: how many parked writes found room, and whether there is more to do at once."""
    parked = sorted(model.at(PARKED), key=lambda name: (name.parked_at, name.write.name))
    moved, beyond = 0, len(parked) > limit
    for name in parked[:limit] if model.has_room_for_dead(1) else []:
        if model.bury(name) is Settled.DEAD:
            moved += 1
        elif beyond:
            name.parked_at = max(name.parked_at, model.now)
    return moved, beyond and moved > 0
