"""Promise 6: urgent goes first, nothing starves, and one tenant's backlog does not delay another's."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.queue.names import PRIORITIES
from tests.support.queue import ShiftedQueue, keys_of

SHARES = {0: 8, 1: 4, 2: 2, 3: 1}


def _backlog(queue: ShiftedQueue, count: int) -> None:
    for priority in PRIORITIES:
        queue.enqueue(*[queue.put(f"{priority}-{number:04}", priority=priority) for number in range(count)])


@pytest.mark.parametrize("max_items", [25, 1, 100])
def test_priorities_share_by_weight_whatever_the_batch_s_size(queue: ShiftedQueue, max_items: int) -> None:
    _backlog(queue, 640)
    claimed: Counter[int] = Counter()
    while claimed[0] < 600:
        claimed.update(write.priority for write in queue.claim_now(max_items=max_items).writes)
    rounds = claimed.total() / 15
    assert abs(claimed[0] - rounds * SHARES[0]) <= max(max_items, SHARES[0]), "more than a batch from its share"
    for priority in (1, 2, 3):
        others = (claimed.total() - claimed[0]) / 7
        assert abs(claimed[priority] - others * SHARES[priority]) <= SHARES[priority]


def test_batches_cut_short_by_bytes_keep_the_shares(queue: ShiftedQueue) -> None:
    _backlog(queue, 100)
    size = len(queue.put("a").tail)
    claimed: Counter[int] = Counter()
    while claimed.total() < 90:
        claimed.update(write.priority for write in queue.claim_now(max_bytes=4 * size + 1).writes)
    for priority, share in SHARES.items():
        assert abs(claimed[priority] - 6 * share) <= share


def test_a_lone_priority_has_the_whole_batch_and_owes_nothing_afterwards(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"low-{number:03}", priority="low") for number in range(200)])
    for _ in range(4):
        assert len(queue.claim_now().writes) == 25
    queue.enqueue(*[queue.put(f"critical-{number:03}", priority="critical") for number in range(100)])
    batches = [{write.priority for write in queue.claim_now().writes} for _ in range(5)]
    assert batches == [{0}, {3}, {0}, {0}, {0}]


def test_critical_writes_share_a_batch_with_no_others(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"low-{number:03}", priority="low") for number in range(60)])
    queue.enqueue(queue.put("urgent", priority="critical"))
    reply = queue.claim(batches=3)
    assert [len(batch.writes) for batch in reply.batches] == [1], "it does not wait until others are claimed"
    assert (reply.batches[0].critical, reply.wait) == (True, 0)
    assert [len(batch.writes) for batch in queue.claim(batches=3).batches] == [25, 25]


def test_a_claim_takes_several_full_batches_of_critical_writes(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"low-{number:03}", priority="low") for number in range(60)])
    queue.enqueue(*[queue.put(f"urgent-{number:02}", priority="critical") for number in range(60)])
    batches = queue.claim(batches=4).batches
    assert [(batch.critical, len(batch.writes)) for batch in batches] == [(True, 25), (True, 25)]


def test_critical_writes_that_come_one_by_one_go_before_a_backlog_each_time(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"low-{number:04}", priority="low") for number in range(250)])
    queue.enqueue(*[queue.put(f"low-{number:04}", priority="low") for number in range(250, 500)])
    for number in range(19):
        queue.enqueue(queue.put(f"urgent-{number}", priority="critical"))
        assert keys_of(queue.claim_now()) == [f"urgent-{number}"]
        assert not queue.claim_now().critical


def test_a_claim_of_critical_writes_only_takes_no_others_and_counts_for_their_share(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"low-{number:03}", priority="low") for number in range(60)])
    assert queue.claim(max_wait=0, only_critical=True, batches=2).batches == []
    queue.enqueue(*[queue.put(f"urgent-{number:02}", priority="critical") for number in range(60)])
    (batch,) = queue.claim(only_critical=True).batches
    assert len(batch.writes) == 25
    assert batch.critical
    assert not queue.claim_now().critical, "they have had more than their share"
    assert queue.claim_now().critical


def test_a_tenant_s_backlog_does_not_delay_another_tenant(queue: ShiftedQueue) -> None:
    for start in range(0, 1000, 250):
        queue.enqueue(*[queue.put(f"{number:04}", tenant="busy") for number in range(start, start + 250)])
    queue.advance(1)
    queue.enqueue(queue.put("mine", tenant="quiet"))
    assert "mine" in keys_of(queue.claim_now())


@pytest.mark.parametrize("max_items", [1, 4, 25])
def test_flows_take_turns(queue: ShiftedQueue, max_items: int) -> None:
    tenants = [f"t{number}" for number in range(5)]
    for tenant in tenants:
        queue.enqueue(*[queue.put(f"{tenant}-{number:03}", tenant=tenant) for number in range(80)])
    claimed: Counter[bytes] = Counter()
    while claimed.total() < 200:
        claimed.update(write.tenant for write in queue.claim_now(max_items=max_items).writes)
    assert all(abs(claimed[tenant.encode()] - 40) <= 8 for tenant in tenants)


def test_buckets_are_flows_of_their_own(queue: ShiftedQueue) -> None:
    queue.enqueue(*[queue.put(f"{number:03}", bucket="busy") for number in range(200)])
    queue.enqueue(queue.put("mine", bucket="quiet"))
    assert "mine" in keys_of(queue.claim_now())


def test_within_a_flow_the_oldest_go_first(queue: ShiftedQueue) -> None:
    for key in ("c", "a", "b"):
        queue.enqueue(queue.put(key))
        queue.advance(0.001)
    assert keys_of(queue.claim_now()) == ["c", "a", "b"]


def test_thousands_of_flows_are_served_in_rotation(queue: ShiftedQueue) -> None:
    for start in range(0, 1024, 256):
        queue.enqueue(*[queue.put("key", bucket=f"bucket-{number}") for number in range(start, start + 256)])
    buckets: list[str] = []
    while len(buckets) < 1024:
        (batch, *_) = queue.claim(max_wait=0, batches=8, max_items=100).batches
        buckets += [write.bucket for write in batch.writes]
        for other in _:
            buckets += [write.bucket for write in other.writes]
    assert len(set(buckets)) == 1024
