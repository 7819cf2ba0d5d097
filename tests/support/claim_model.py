"""Judges what a claim answers: which ready writes it picks is not predicted, but they must be ones it may take."""

from __future__ import annotations

import math

from penstock.queue.client import GUARD_SECONDS
from penstock.queue.results import Batch, Claimed, ClaimReply
from tests.support.queue_layout import ALONE, READY, Seen
from tests.support.queue_model import BLOCKED_SECONDS, MAX_DELETES, QueueModel
from tests.support.queue_parts import ClaimOptions, Name, Write


def _full(model: QueueModel, options: ClaimOptions) -> bool:
    waiting = model.available()
    if len(waiting) >= options.max_items:
        return True
    return not model.aside and sum(write.charge for write in waiting) >= options.max_bytes


def _due_in(model: QueueModel, options: ClaimOptions) -> float | None:
    """Seconds until a batch is due, 0 when one is, None when nothing waits."""
    waiting = model.available()
    if options.only_critical and not any(write.priority == 0 for write in waiting):
        return None
    if not waiting or (None, None) in model.blocks:
        return None
    if _full(model, options) or any(write.priority == 0 for write in waiting):
        return 0
    oldest = min(write.since for write in waiting)
    return max(0, math.ceil((oldest + round(options.max_wait * 1e6) - model.now) / 1000)) / 1000


def judge_claim(model: QueueModel, reply: ClaimReply, options: ClaimOptions, lease: float, seen: Seen) -> None:
    """Judges a claim's answer and takes it over. ``seen``: what the queue holds after it."""
    model.note_server(lease + GUARD_SECONDS)
    left = (model.epoch.until or 0) - model.now
    assert (reply.epoch, reply.epoch_left) == (model.epoch.seq, max(0, math.ceil(left / 1000)) / 1000)
    wait = _due_in(model, options)
    paused = (None, None) in model.blocks
    may_be_alone = options.holds_none and not options.only_critical
    if may_be_alone and not paused and model.at(ALONE) and (wait != 0 or not model.alone_turn):
        model.alone_turn = True
        name = _next_alone(model)
        if name is not None:
            (batch,) = reply.batches
            (write,) = batch.writes
            assert write.swept
            assert write.name == name.write.name, "not the oldest of those set apart"
            assert write.attempts == name.attempts + 1 <= model.max_attempts
            model.take(batch, lease)
            assert (reply.wait, seen.aside) == (wait, model.aside)
            assert reply.alone == bool(model.at(ALONE))
            return
        wait = _due_in(model, options)
    elif wait == 0 and not options.only_critical:
        model.alone_turn = False
    if wait == 0:
        _judge_due(model, reply, options, lease, seen)
    else:
        assert (reply.batches, reply.wait, seen.aside) == ([], wait, model.aside)
    assert reply.alone == bool(model.at(ALONE) and not paused)


def _next_alone(model: QueueModel) -> Name | None:
    """The oldest of those set apart that is not blocked; those before it go to their lanes."""
    for name in sorted(model.at(ALONE), key=lambda name: (name.write.since, name.write.name)):
        if not model.blocked(name.write.flow[1], name.write.flow[2]):
            return name
        name.place = READY
    return None


def _judge_due(model: QueueModel, reply: ClaimReply, options: ClaimOptions, lease: float, seen: Seen) -> None:
    assert reply.needs in {0, *(write.charge for write in model.available())}
    met = seen.aside - model.aside
    assert all(model.blocked(bucket, tenant) for _, bucket, tenant in met), "set aside without a block"
    assert len(reply.batches) <= options.batches
    budget, fresh = options.budget, options.holds_none
    for number, batch in enumerate(reply.batches):
        assert number == 0 or _full(model, options), "a further batch that is not full"
        assert batch.critical or not options.only_critical
        assert batch.critical == reply.batches[0].critical, "critical writes wait for others"
        _judge_batch(model, batch, options)
        for write in batch.writes:
            assert write.size <= budget or fresh, "more bytes than the worker can hold"
            budget, fresh = budget - write.size, False
        model.take(batch, lease)
    apart = [name for name in model.at(READY) if name.swept and seen.names[name.write.name][0] == ALONE]
    for name in apart:
        name.place = ALONE
    model.aside = seen.aside
    wait = _due_in(model, options)
    if not reply.batches and wait == 0:
        kinds = {0} if options.only_critical else {0, 1, 2, 3}
        left = [write for write in model.available() if write.priority in kinds]
        assert any(write.charge > budget for write in left), "due, and nothing came"
        assert not fresh
        assert reply.needs > budget
        assert reply.wait == BLOCKED_SECONDS
        return
    assert reply.batches or met or apart, "due, and nothing came"
    assert reply.wait == wait or (wait == 0 and reply.wait == BLOCKED_SECONDS)


def _judge_batch(model: QueueModel, batch: Batch, options: ClaimOptions) -> None:
    assert batch.writes, "an empty batch"
    assert len({write.priority == 0 for write in batch.writes}) == 1, "critical writes among others"
    assert len({write.name for write in batch.writes}) == len(batch.writes)
    assert batch.size <= options.max_bytes or len(batch.writes) == 1
    units = sum(options.max_items if write.is_delete else MAX_DELETES for write in batch.writes)
    assert units <= options.max_items * MAX_DELETES
    flows: dict[tuple[int, bytes, bytes], list[Write]] = {}
    for write in model.available(swept=False):
        flows.setdefault(write.flow, []).append(write)
    for writes in flows.values():
        writes.sort(key=lambda write: write.age_order)
    for claimed in batch.writes:
        flow = (claimed.priority, claimed.name.partition(b"/")[0], claimed.tenant)
        assert not model.blocked(flow[1], flow[2]), "a blocked write was claimed"
        assert flows[flow].pop(0).name == claimed.name, "not the oldest of its flow"
        _judge_write(model, claimed)


def _judge_write(model: QueueModel, claimed: Claimed) -> None:
    entry = model.names[claimed.name]
    assert entry.place == READY
    assert not claimed.swept, "a swept write among others"
    assert claimed.attempts == entry.attempts + 1 <= model.max_attempts
    write = entry.write
    assert (claimed.seq, claimed.since, claimed.size) == (write.seq, write.since, write.charge)
    assert claimed.is_delete == write.is_delete
