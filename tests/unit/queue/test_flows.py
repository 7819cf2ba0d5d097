"""Which flows wait: the oldest of each priority, held up or not, however many there are."""

from __future__ import annotations

from penstock.queue import blocks
from penstock.queue.flows import Flow, oldest
from penstock.queue.results import Outcome
from tests.support.queue import BUCKET, ShiftedQueue


def test_a_flow_is_shown_with_its_writes_and_the_age_of_the_oldest(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a", tenant="t"), queue.put("b", tenant="t"), queue.put("c", tenant="ü/x", priority="low"))
    queue.advance(2)
    queue.enqueue(queue.put("a", b"newer", tenant="t"), queue.put("d", priority="critical", bucket="other"))
    found = oldest(queue.queue)
    assert found.count == {"critical": 1, "high": 0, "normal": 1, "low": 1}
    assert found.oldest == [
        Flow("normal", BUCKET, "t", 2, 2.0, False),
        Flow("low", BUCKET, "ü/x", 1, 2.0, False),
        Flow("critical", "other", "", 1, 0.0, False),
    ]


def test_of_many_flows_those_are_shown_that_have_waited_longest_of_each_priority(queue: ShiftedQueue) -> None:
    for number in range(30):
        for priority in ("high", "low"):
            queue.enqueue(queue.put(f"{priority}-{number}", tenant=f"{number:02}", priority=priority))
        queue.advance(1)
    found = oldest(queue.queue, limit=3)
    assert found.count == {"critical": 0, "high": 30, "normal": 0, "low": 30}
    assert [(flow.priority, flow.tenant) for flow in found.oldest] == [
        (priority, tenant) for tenant in ("00", "01", "02") for priority in ("high", "low")
    ]


def test_flows_that_a_block_holds_up_are_among_them_by_age(queue: ShiftedQueue) -> None:
    for tenant in ("held", "free"):
        queue.enqueue(queue.put(tenant, tenant=tenant))
        queue.advance(1)
    blocks.block(queue.queue, BUCKET, "held")
    batch = queue.claim_now()
    assert [write.key for write in batch.writes] == ["free"]
    queue.settle(batch, Outcome.NEVER_SENT)
    found = oldest(queue.queue, limit=1)
    assert found.count["normal"] == 2
    assert [(flow.tenant, flow.set_aside) for flow in found.oldest] == [("held", True)]
    assert [(flow.tenant, flow.set_aside) for flow in oldest(queue.queue).oldest] == [("held", True), ("free", False)]


def test_the_newest_dead_letters_come_first_when_asked_for(queue: ShiftedQueue) -> None:
    for key in ("a", "b", "c"):
        queue.bury(queue.put(key))
        queue.advance(1)
    assert [letter.key for letter in queue.queue.dead_letters(limit=2, newest_first=True)] == ["c", "b"]
    assert [letter.key for letter in queue.queue.dead_letters(limit=2)] == ["a", "b"]
