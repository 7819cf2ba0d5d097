"""Blocks: a paused queue, bucket or tenant is left alone, costs claims nothing, and comes back whole."""

from __future__ import annotations

from typing import cast

import pytest

from penstock.errors import InvalidSetting, PenstockError
from penstock.queue.blocks import block, unblock
from penstock.queue.results import Outcome
from tests.support.queue import BUCKET, LARGE, LEASE, MAX_WAIT, START, ShiftedQueue, keys_of


def _woken(queue: ShiftedQueue) -> bool:
    return queue.client.lpop(queue.prefix + "wake") is not None


def _all_keys(queue: ShiftedQueue) -> list[str]:
    """Claims until nothing is ready."""
    keys = []
    while batches := queue.claim(max_wait=0, batches=8, max_items=100).batches:
        keys += [key for batch in batches for key in keys_of(batch)]
    return keys


def _commands(queue: ShiftedQueue) -> int:
    """Calls of Redis commands so far, those of scripts included."""
    stats = cast("dict[str, dict[str, int]]", queue.client.info("commandstats"))
    return sum(one["calls"] for one in stats.values())


def test_a_paused_queue_gives_nothing_and_still_accepts(queue: ShiftedQueue) -> None:
    assert block(queue.queue, None, None)
    queue.enqueue(queue.put("a", priority="critical"))
    reply = queue.claim()
    assert (reply.batches, reply.wait, queue.stats().paused) == ([], None, True)
    assert unblock(queue.queue, None, None)
    assert (keys_of(queue.claim_now()), queue.stats().paused) == (["a"], False)


def test_a_paused_queue_wakes_nobody_until_it_is_resumed(queue: ShiftedQueue) -> None:
    block(queue.queue, None, None)
    queue.enqueue(*[queue.put(f"{number}", priority="critical") for number in range(30)])
    assert not _woken(queue)
    unblock(queue.queue, None, None)
    assert _woken(queue)


def test_a_paused_bucket_is_left_alone_and_the_others_go_on(queue: ShiftedQueue) -> None:
    block(queue.queue, BUCKET, None)
    queue.enqueue(queue.put("a"), queue.put("b", tenant="t"), queue.put("c", bucket="other", priority="low"))
    assert _all_keys(queue) == ["c"]
    assert queue.stats().set_aside == 2
    unblock(queue.queue, BUCKET, None)
    assert sorted(_all_keys(queue)) == ["a", "b"]


def test_a_paused_tenant_is_left_alone_in_its_bucket_only(queue: ShiftedQueue) -> None:
    block(queue.queue, BUCKET, "t")
    queue.enqueue(queue.put("a", tenant="t"), queue.put("b"), queue.put("c", tenant="t2"))
    queue.enqueue(queue.put("d", tenant="t", bucket="other"))
    assert sorted(_all_keys(queue)) == ["b", "c", "d"]
    unblock(queue.queue, BUCKET, "t")
    assert _all_keys(queue) == ["a"]


def test_the_tenant_without_a_name_can_be_paused(queue: ShiftedQueue) -> None:
    block(queue.queue, BUCKET, "")
    queue.enqueue(queue.put("a"), queue.put("b", tenant="t"))
    assert _all_keys(queue) == ["b"]


def test_a_bucket_whose_name_begins_like_a_resumed_one_s_stays_paused(queue: ShiftedQueue) -> None:
    for name in ("logs", "logs-2", "logs0", "log"):
        block(queue.queue, name, None)
        queue.enqueue(queue.put("key", bucket=name))
    assert _all_keys(queue) == []
    unblock(queue.queue, "logs", None)
    assert [write.bucket for write in queue.claim_now().writes] == ["logs"]
    assert queue.stats().set_aside == 3


def test_a_flow_that_was_set_aside_costs_claims_nothing(queue: ShiftedQueue) -> None:
    for start in range(0, 512, 256):
        queue.enqueue(*[queue.put(f"{number}", tenant=f"t{number}") for number in range(start, start + 256)])
    block(queue.queue, BUCKET, None)
    while queue.claim(max_wait=0).wait == 0:
        pass
    queue.enqueue(queue.put("key", bucket="other"))
    before = _commands(queue)
    assert keys_of(queue.claim_now()) == ["key"]
    assert _commands(queue) - before < 40


def test_one_claim_sets_aside_a_bounded_number_of_flows_and_asks_to_be_called_again(queue: ShiftedQueue) -> None:
    for start in range(0, 512, 256):
        queue.enqueue(*[queue.put(f"{number}", tenant=f"t{number}") for number in range(start, start + 256)])
    block(queue.queue, BUCKET, None)
    reply = queue.claim(max_wait=0)
    assert (reply.batches, reply.wait) == ([], 0)
    assert 50 <= queue.stats().set_aside <= 200


def test_what_is_set_aside_makes_no_batch_due_and_none_full(queue: ShiftedQueue) -> None:
    block(queue.queue, BUCKET, None)
    queue.enqueue(*[queue.put(f"{number}", priority="critical") for number in range(30)], queue.put("large", LARGE))
    assert queue.claim(max_bytes=len(LARGE)).wait is None
    queue.advance(MAX_WAIT)
    queue.enqueue(queue.put("young", bucket="other"))
    reply = queue.claim(max_bytes=len(LARGE))
    assert (reply.batches, reply.wait) == ([], MAX_WAIT)


def test_a_set_aside_flow_still_shows_its_age(queue: ShiftedQueue) -> None:
    block(queue.queue, BUCKET, None)
    queue.enqueue(queue.put("old"))
    _all_keys(queue)
    queue.advance(60)
    queue.enqueue(queue.put("young", bucket="other"))
    stats = queue.stats()
    assert (stats.oldest_age["normal"], stats.ready["normal"], stats.set_aside) == (60, 2, 1)


def test_a_write_to_a_set_aside_flow_wakes_nobody_and_its_resumption_does(queue: ShiftedQueue) -> None:
    block(queue.queue, BUCKET, None)
    queue.enqueue(queue.put("a"))
    _all_keys(queue)
    _woken(queue)
    queue.enqueue(*[queue.put(f"{number}", priority="normal") for number in range(30)])
    assert not _woken(queue)
    unblock(queue.queue, BUCKET, None)
    assert _woken(queue)
    assert len(_all_keys(queue)) == 31


def test_a_resumption_that_was_killed_is_finished_by_the_sweeper_and_wakes_a_worker(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"{number}", tenant=f"t{number:03}") for number in range(30)])
    block(queue.queue, BUCKET, None)
    assert _all_keys(queue) == []
    queue.queue.run("unblock", 1, BUCKET, "pause")
    assert queue.stats().set_aside == 29
    _woken(queue)
    swept = queue.sweep(limit=10)
    assert (swept.more, queue.stats().set_aside) == (True, 19)
    assert _woken(queue)
    while swept.more:
        swept = queue.sweep(limit=10)
    assert len(_all_keys(queue)) == 30


def test_a_bucket_paused_again_while_it_comes_back_is_paused(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"{number}", tenant=f"t{number:03}") for number in range(30)])
    block(queue.queue, BUCKET, None)
    _all_keys(queue)
    queue.queue.run("unblock", 10, BUCKET, "pause")
    block(queue.queue, BUCKET, None)
    assert _all_keys(queue) == []
    assert not queue.sweep().more
    assert queue.stats().set_aside == 30
    unblock(queue.queue, BUCKET, None, step=7)
    assert len(_all_keys(queue)) == 30


def test_a_block_ends_with_its_last_reason(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    assert block(queue.queue, BUCKET, None, note="me@here")
    assert not block(queue.queue, BUCKET, None)
    assert block(queue.queue, BUCKET, None, reason="breaker")
    assert [(one.reason, one.note) for one in queue.stats().blocks] == [("breaker", ""), ("pause", "me@here")]
    assert unblock(queue.queue, BUCKET, None, reason="breaker")
    assert not unblock(queue.queue, BUCKET, None, reason="breaker")
    assert _all_keys(queue) == []
    unblock(queue.queue, BUCKET, None)
    assert (_all_keys(queue), queue.stats().blocks) == (["a"], [])


def test_a_tenant_paused_on_its_own_stays_paused_when_its_bucket_is_resumed(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", tenant="t"), queue.put("b"))
    block(queue.queue, BUCKET, None)
    block(queue.queue, BUCKET, "t")
    _all_keys(queue)
    unblock(queue.queue, BUCKET, None)
    assert _all_keys(queue) == ["b"]
    unblock(queue.queue, BUCKET, "t")
    assert _all_keys(queue) == ["a"]


def test_blocks_say_what_they_hold_up_since_when_and_who_said_so(queue: ShiftedQueue) -> None:
    block(queue.queue, None, None, note="a@b")
    block(queue.queue, BUCKET, "", note="c@d")
    whole, tenant = queue.stats().blocks
    assert (whole.bucket, whole.tenant, whole.note) == (None, None, "a@b")
    assert (tenant.bucket, tenant.tenant, tenant.since.timestamp() * 1e6) == (BUCKET, "", START)


@pytest.mark.parametrize("end", ["retry", "release", "sweep", "newer"])
def test_a_write_that_comes_back_into_a_set_aside_flow_stays_there(queue: ShiftedQueue, end: str) -> None:
    batch = queue.claimed(queue.put("flying"))
    queue.enqueue(queue.put("waiting"))
    block(queue.queue, BUCKET, None)
    _all_keys(queue)
    if end == "retry":
        queue.settle(batch, Outcome.RETRY)
        queue.sweep()
    elif end == "release":
        queue.queue.release(batch.token, max_attempts=9)
    elif end == "sweep":
        queue.advance(LEASE)
        queue.sweep()
    else:
        queue.enqueue(queue.put("flying"))
        queue.settle(batch)
    assert (_all_keys(queue), queue.stats().set_aside) == ([], 2)
    unblock(queue.queue, BUCKET, None)
    assert sorted(_all_keys(queue)) == ["flying", "waiting"]


def test_a_write_in_a_set_aside_flow_can_be_raised_replaced_and_moved_to_another_tenant(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", b"old", tenant="t"))
    block(queue.queue, BUCKET, "t")
    _all_keys(queue)
    queue.enqueue(queue.put("a", b"new", tenant="t"))
    queue.enqueue(queue.put("a", b"new", tenant="t", priority="high"))
    assert _all_keys(queue) == []
    queue.enqueue(queue.put("a", b"newest", tenant="free"))
    assert _all_keys(queue) == ["a"]


def test_no_more_than_a_thousand_blocks_so_that_all_can_be_shown(queue: ShiftedQueue) -> None:
    for number in range(1000):
        block(queue.queue, BUCKET, f"t{number}")
    with pytest.raises(PenstockError, match="whole buckets"):
        block(queue.queue, BUCKET, None)
    assert block(queue.queue, BUCKET, "t0", reason="breaker"), "a further reason of a block that stands"
    assert len(queue.stats().blocks) == 1001


def test_a_tenant_without_a_bucket_and_a_bucket_with_a_slash_are_refused(queue: ShiftedQueue) -> None:
    for bucket, tenant in ((None, "t"), ("a/b", None), ("", None)):
        with pytest.raises(InvalidSetting):
            block(queue.queue, bucket, tenant)
