"""What putting a dead letter back does, in the model of the queue."""

from __future__ import annotations

from tests.support.queue_model import QueueModel
from tests.support.queue_parts import Name


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
