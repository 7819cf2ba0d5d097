"""A call whose answer was lost counts once, whatever Redis made of it, and wherever its replay is killed."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from penstock import Write
from penstock.calls import Caller, Options
from penstock.errors import PenstockError
from penstock.packing import pack
from penstock.queue.commit import Group
from penstock.spool.append import Spool
from penstock.spool.clock import Moment
from penstock.spool.duty import replay_all
from penstock.spool.look import spool_stats
from penstock.spool.rows import Origin
from penstock.sync_channel import Channel
from tests.support.producers import BUCKET, HANG, Seen
from tests.support.spool_victim import die_at, in_child
from tests.support.wait import wait_until

pytestmark = pytest.mark.faults


def options(url: str, queue: str, directory: Path) -> Options:
    return Options.make(url, queue, BUCKET, HANG, 1 << 24, None, "memory", str(directory))


def send(channel: Channel, group: Group) -> None:
    deadline = time.monotonic() + HANG
    channel.ready(deadline)
    (outcome,) = channel.send([group], deadline)
    assert not isinstance(outcome, PenstockError)


def spool_lost_call(made: Options, *, taken: bool, too_old: bool, boot: str = "") -> None:
    """The spool holds a call that was lost, and a later write of its key.

    Args:
        taken: Redis had accepted the call.
        too_old: it has answered a later call of the same producer since, which was not lost.
        boot: of the host, when it was not this one.
    """
    assert made.spool is not None
    caller = Caller(made)
    channel = Channel(caller)
    spool = Spool(made.spool, made.queue, 1 << 20, HANG)
    now = Moment.now()
    before = replace(now, boot=boot or now.boot)
    lost = [pack(caller.check(Write(key=key, body=b"1"))) for key in ("key", "of the lost call")]
    if taken:
        send(channel, lost)
    else:
        caller.encode([lost])
    identity = caller.last_call
    if too_old:
        send(channel, [pack(caller.check(Write(key="later", body=b"2")))])
    channel.close()
    spool.append([lost], Origin(0, 1, before, 0, "memory", *identity), None)
    spool.append(
        [[pack(caller.check(Write(key="key", body=b"3")))]],
        Origin(0, 1, replace(Moment.now(), boot=before.boot), 0, "memory"),
        None,
    )
    spool.close()


@pytest.mark.parametrize("too_old", [False, True], ids=["remembered", "too_old"])
@pytest.mark.parametrize("taken", [False, True], ids=["not_taken", "taken"])
def test_killed_at_each_step_of_a_lost_calls_replay_it_counts_once(
    taken: bool,
    too_old: bool,
    redis_url: str,
    queue_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.spool.jobs.LEASE", 0.05)
    for step in itertools.count():
        directory = tmp_path / str(step)
        made = options(redis_url, f"{queue_name}-{step}", directory)
        spool_lost_call(made, taken=taken, too_old=too_old)

        def work(made: Options = made, directory: Path = directory, step: int = step) -> None:
            die_at(step)
            assert replay_all(made, str(directory), threading.Event())

        def replayed(made: Options = made, directory: Path = directory) -> bool:
            return replay_all(made, str(directory), threading.Event())

        ended = in_child(work)
        # Whoever was killed has the lease for a while yet.
        wait_until(replayed, HANG, "the lease is free")
        stats = spool_stats(str(directory), made.queue)
        seen = Seen(redis_url, made.queue)
        found = {name.removeprefix(f"{BUCKET}/"): bytes(one.body or b"") for name, one in seen.records().items()}
        accepted = seen.accepted()
        seen.close()
        wanted = {"key": b"3", "of the lost call": b"1"} | ({"later": b"2"} if too_old else {})
        assert found == wanted, f"killed at step {step}"
        assert accepted == 3 + too_old, f"killed at step {step}"
        # Too old, it is sent as if it were new, and what Redis had taken before is superseded by itself.
        assert (stats.writes, stats.superseded) == (0, 2 if taken and too_old else 0), f"killed at step {step}"
        if ended:
            assert step >= 15
            return


def test_a_lost_call_that_superseded_itself_does_not_supersede_what_came_after_it(
    redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    """After a reboot of the host the order is known to half a minute only."""
    made = options(redis_url, queue_name, tmp_path)
    spool_lost_call(made, taken=True, too_old=True, boot="another")
    assert replay_all(made, str(tmp_path), threading.Event())
    seen = Seen(redis_url, queue_name)
    assert bytes(seen.records()[f"{BUCKET}/key"].body or b"") == b"3"
    seen.close()
