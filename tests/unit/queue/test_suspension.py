"""A suspended bucket: confirmed by another worker or for lack of one, probed with another write each time, resumed."""

from __future__ import annotations

from datetime import timedelta

from penstock.queue.blocks import block, unblock
from penstock.queue.results import Failure, Outcome, Settled
from penstock.queue.suspension import (
    CONFIRM_SECONDS,
    FIRST_PROBE_SECONDS,
    JITTER,
    LONGEST_PROBE_SECONDS,
    Answer,
    Probe,
    probe,
    resume,
    suspend,
)
from penstock.queue.workers import ALIVE_SECONDS
from tests.support.queue import BUCKET, LEASE, MAX_ATTEMPTS, PLENTY, ShiftedQueue, keys_of

DENIED = Failure("environment", "AccessDenied", 403, "no")


def beats(queue: ShiftedQueue, *workers: str) -> None:
    for worker in workers:
        queue.client.zadd(queue.prefix + "worker", {worker: queue.now})
        queue.client.hset(queue.prefix + "workers", worker, b"\x90")


def probed(queue: ShiftedQueue, *, holds_none: bool = True, buckets: list[str] | None = None) -> Probe:
    token = f"probe-{queue.now}-{queue.stats().inflight}"
    return probe(queue.queue, token, lease=LEASE, budget=PLENTY, holds_none=holds_none, buckets=buckets)


def suspended(queue: ShiftedQueue, *keys: str, tenants: tuple[str, ...] = ("",)) -> None:
    """Some waiting writes of a bucket, which is suspended, and set aside by a claim."""
    queue.enqueue(*(queue.put(key, tenant=tenant) for key in keys for tenant in tenants[:1]))
    assert suspend(queue.queue, BUCKET, "me", DENIED) is Answer.SUSPENDED
    while queue.claim(max_wait=0).batches:
        raise AssertionError("a suspended write was claimed")


def test_without_another_worker_alive_the_first_finding_suspends(queue: ShiftedQueue) -> None:
    beats(queue, "me", "dead")
    queue.advance(ALIVE_SECONDS + 1)
    beats(queue, "me")
    assert suspend(queue.queue, BUCKET, "me", DENIED) is Answer.SUSPENDED
    assert suspend(queue.queue, BUCKET, "me", DENIED) is Answer.ALREADY
    (one,) = queue.stats().suspended
    assert (one.bucket, one.error_class, one.code, one.http_status, one.probes) == (
        BUCKET, "environment", "AccessDenied", 403, 0,
    )  # fmt: skip
    assert one.next_probe - one.since == timedelta(seconds=FIRST_PROBE_SECONDS)
    (held,) = queue.stats().blocks
    assert (held.bucket, held.reason, held.note) == (BUCKET, "suspended", "AccessDenied")


def test_with_others_alive_another_one_must_find_the_same(queue: ShiftedQueue) -> None:
    beats(queue, "me", "other")
    assert suspend(queue.queue, BUCKET, "me", DENIED) is Answer.UNCONFIRMED
    assert suspend(queue.queue, BUCKET, "me", DENIED) is Answer.UNCONFIRMED
    assert suspend(queue.queue, "other-bucket", "other", DENIED) is Answer.UNCONFIRMED
    assert queue.stats().suspended == []
    assert suspend(queue.queue, BUCKET, "other", DENIED) is Answer.SUSPENDED


def test_an_old_finding_confirms_nothing(queue: ShiftedQueue) -> None:
    beats(queue, "me", "other")
    suspend(queue.queue, BUCKET, "other", DENIED)
    queue.advance(CONFIRM_SECONDS)
    beats(queue, "me", "other")
    assert suspend(queue.queue, BUCKET, "me", DENIED) is Answer.UNCONFIRMED


def test_a_suspended_bucket_costs_claims_nothing_and_others_go_on(queue: ShiftedQueue) -> None:
    suspended(queue, "a", "b")
    assert queue.stats().set_aside == 2
    queue.enqueue(queue.put("c", bucket="other"))
    assert keys_of(queue.claim_now()) == ["c"]


def test_a_probe_is_one_write_and_another_one_each_time(queue: ShiftedQueue) -> None:
    suspended(queue, *"abc")
    assert probed(queue).batch is None, "before it was due"
    seen = []
    for _ in range(3):
        queue.advance(LONGEST_PROBE_SECONDS * (1 + JITTER))
        found = probed(queue)
        assert found.bucket == BUCKET
        assert found.batch is not None
        seen += keys_of(found.batch)
        assert probed(queue).batch is None, "a second one at the same time"
        assert queue.settle(found.batch, Outcome.RETRY_ENVIRONMENT, delay=1000) == [Settled.DELAYED]
    assert sorted(seen) == ["a", "b", "c"]
    assert queue.stats().suspended[0].probes == 3


def test_a_probe_that_comes_back_at_once_does_not_hide_the_others(queue: ShiftedQueue) -> None:
    suspended(queue, *"abc")
    seen = set()
    for _ in range(3):
        queue.advance(LONGEST_PROBE_SECONDS * (1 + JITTER))
        found = probed(queue).batch
        assert found is not None
        seen.update(keys_of(found))
        queue.settle(found, Outcome.NEVER_SENT)
    assert seen == {"a", "b", "c"}


def test_the_interval_between_probes_grows_up_to_its_longest(queue: ShiftedQueue) -> None:
    suspended(queue, *(f"{n}" for n in range(8)))
    waits = []
    for _ in range(8):
        (one,) = queue.stats().suspended
        queue.now = int(one.next_probe.timestamp() * 1e6) + 1
        found = probed(queue)
        assert found.batch is not None
        queue.settle(found.batch, Outcome.RETRY, delay=1000)
        (one,) = queue.stats().suspended
        waits.append(one.next_probe.timestamp() - queue.now / 1e6)
    for number, wait in enumerate(waits, start=1):
        interval = min(FIRST_PROBE_SECONDS * 2**number, LONGEST_PROBE_SECONDS)
        assert interval * (1 - JITTER) - 1e-3 <= wait <= interval * (1 + JITTER) + 1e-3


def test_with_nothing_waiting_there_is_no_probe_and_the_next_write_is_one_soon(queue: ShiftedQueue) -> None:
    suspend(queue.queue, BUCKET, "me", DENIED)
    queue.advance(60)
    found = probed(queue)
    assert (found.batch, found.wait) == (None, 1.0)
    queue.enqueue(queue.put("a"))
    queue.claim(max_wait=0)
    assert probed(queue).batch is not None


def test_an_attempt_is_counted_by_a_probes_claim(queue: ShiftedQueue) -> None:
    suspended(queue, "a")
    queue.advance(1)
    batch = probed(queue).batch
    assert batch is not None
    assert batch.writes[0].attempts == 1


def test_a_probe_of_a_dead_worker_comes_back_by_its_lease(queue: ShiftedQueue) -> None:
    suspended(queue, "a")
    queue.advance(FIRST_PROBE_SECONDS)
    assert probed(queue).batch is not None
    queue.advance(LEASE)
    assert queue.sweep().taken_back == 1
    assert not queue.claim(max_wait=0).batches
    queue.advance(LONGEST_PROBE_SECONDS)
    found = probed(queue)
    assert found.batch is not None
    assert found.batch.alone


def test_alone_a_swept_write_is_a_probe_only_for_a_process_that_holds_nothing(queue: ShiftedQueue) -> None:
    queue.claimed(queue.put("a"))
    queue.advance(LEASE)
    queue.sweep()
    suspend(queue.queue, BUCKET, "me", DENIED)
    queue.claim(max_wait=0)
    queue.advance(FIRST_PROBE_SECONDS)
    found = probed(queue, holds_none=False)
    assert (found.batch, found.alone) == (None, True)
    assert probed(queue).batch is not None


def test_a_pause_holds_for_probes_too(queue: ShiftedQueue) -> None:
    suspended(queue, "a")
    queue.advance(FIRST_PROBE_SECONDS)
    for subject in ((BUCKET, None), (BUCKET, ""), (None, None)):
        block(queue.queue, *subject)
        assert probed(queue).batch is None
        unblock(queue.queue, *subject)
    assert queue.stats().suspended, "a resume by the operator ends only the operator's pause"
    queue.claim(max_wait=0)
    assert probed(queue).batch is not None


def test_a_worker_probes_only_buckets_it_may_write_to(queue: ShiftedQueue) -> None:
    suspended(queue, "a")
    queue.advance(FIRST_PROBE_SECONDS)
    assert probed(queue, buckets=["other"]).batch is None
    assert probed(queue, buckets=[]).batch is None
    assert probed(queue, buckets=["other", BUCKET]).batch is not None


def test_resume_brings_all_back(queue: ShiftedQueue) -> None:
    queue.enqueue(*(queue.put("a", tenant=f"{n}") for n in range(1)))
    queue.enqueue(*(queue.put(f"{n}", tenant=f"t{n}") for n in range(250)))
    suspend(queue.queue, BUCKET, "me", DENIED)
    while queue.stats().set_aside < 251:
        queue.claim(max_wait=0)
    since = resume(queue.queue, BUCKET)
    assert since is not None
    assert (queue.stats().set_aside, queue.stats().suspended, queue.stats().blocks) == (0, [], [])
    assert resume(queue.queue, BUCKET) is None


def test_an_environment_fault_counts_once_others_were_stored_since(queue: ShiftedQueue) -> None:
    def fault() -> Settled:
        batch = queue.claim_now()
        assert keys_of(batch) == ["a"]
        queue.advance(1)
        (settled,) = queue.settle(batch, Outcome.RETRY_ENVIRONMENT)
        queue.sweep()
        return settled

    queue.enqueue(queue.put("a"))
    for _ in range(3 * MAX_ATTEMPTS):
        assert fault() is Settled.DELAYED
    for _ in range(MAX_ATTEMPTS - 1):
        _store_another(queue)
        assert fault() is Settled.DELAYED
    assert fault() is Settled.DELAYED, "nothing was stored since its last one"
    _store_another(queue)
    assert fault() is Settled.DEAD


def test_what_is_stored_in_another_bucket_says_nothing(queue: ShiftedQueue) -> None:
    queue.enqueue(queue.put("a"))
    for _ in range(2 * MAX_ATTEMPTS):
        queue.advance(1)
        assert queue.settle(queue.claim_now(), Outcome.RETRY_ENVIRONMENT) == [Settled.DELAYED]
        queue.advance(1)
        queue.settle(queue.claimed(queue.put("b", bucket="other")))
        queue.sweep()


def _store_another(queue: ShiftedQueue) -> None:
    """With the failing write in its claim, so that only the other one is taken."""
    failing = queue.claim_now()
    queue.advance(1)
    queue.settle(queue.claimed(queue.put("b")))
    queue.settle(failing, Outcome.NEVER_SENT)
    queue.advance(1)


def test_a_bucket_that_a_worker_skips_is_left_to_others(queue: ShiftedQueue) -> None:
    queue.enqueue(*(queue.put(f"{n}", tenant=f"{n}") for n in range(30)))
    queue.enqueue(queue.put("b", bucket="other", tenant="t"))
    found = queue.queue.claim(
        ["t1"], lease=LEASE, max_items=25, max_bytes=PLENTY, max_wait=0, budget=PLENTY, holds_none=True, skip=[BUCKET]
    )
    assert [keys_of(batch) for batch in found.batches] == [["b"]]
    found = queue.queue.claim(
        ["t2"], lease=LEASE, max_items=25, max_bytes=PLENTY, max_wait=0, budget=PLENTY, holds_none=True, skip=[BUCKET]
    )
    assert (found.batches, found.wait) == ([], 1.0), "it would ask again at once"
    assert len(queue.claim_now().writes) == 25


def test_a_worker_that_skips_very_many_flows_neither_spins_nor_misses_what_waits_behind_them(
    queue: ShiftedQueue,
) -> None:
    for first in (0, 200):
        queue.enqueue(*(queue.put(f"{n}", tenant=f"{n}") for n in range(first, first + 200)))
    queue.enqueue(queue.put("b", bucket="other"))
    seen = []
    for number in range(4):
        found = queue.queue.claim(
            [f"t{number}"], lease=LEASE, max_items=25, max_bytes=PLENTY, max_wait=0, budget=PLENTY, holds_none=True,
            skip=[BUCKET],
        )  # fmt: skip
        seen += [key for batch in found.batches for key in keys_of(batch)]
        assert found.batches or (found.wait or 0) > 0, "it would ask again at once"
    assert seen == ["b"]
