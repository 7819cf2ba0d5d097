"""The doctor's check of workers: somebody is alive, all of one version, none that stops for ever."""

from __future__ import annotations

import pytest

from penstock.queue.client import Queue
from penstock.queue.workers import Facts, beat
from penstock_worker.doctor.base import Finding, Status
from penstock_worker.doctor.site import Site
from penstock_worker.doctor.worker_checks import STOP_SLACK, workers
from penstock_worker.settings import WorkerSettings

pytestmark = pytest.mark.integration

STOP_TIMEOUT = 25.0

AHEAD = "local function clock() return (redis.call('TIME')[1] + 600) * 1e6 end"
"""Of the time: who beats then is alive however long a test takes."""
BEFORE = "local function clock() return (redis.call('TIME')[1] - 60) * 1e6 end"


def judged(queue: Queue, redis_url: str, *alive: Facts, silent: tuple[Facts, ...] = ()) -> Finding:
    for clock, told in ((BEFORE, silent), (AHEAD, alive)):
        for number, facts in enumerate(told):
            beat(Queue(queue.client, queue.name, clock=clock), f"{clock[-20:]}{number}", facts)
    settings = WorkerSettings(redis_url=redis_url, queue=queue.name, stop_timeout=STOP_TIMEOUT)
    return workers(Site(settings))


def facts(number: int = 1, version: str = "1.0", **more: object) -> Facts:
    return Facts(host="host", pid=number, version=version, **more)  # type: ignore[arg-type]


def test_workers_of_one_version_are_one_line(queue: Queue, redis_url: str) -> None:
    found = judged(queue, redis_url, facts(1), facts(2), silent=(facts(3),))
    assert (found.status, found.remedy) == (Status.OK, "")
    assert found.found.startswith("2 alive, version 1.0; 1 fell silent within the hour, the last one ")
    assert found.found.endswith(" ago: host:3")


def test_without_a_living_worker_it_warns_and_names_the_last(queue: Queue, redis_url: str) -> None:
    assert judged(queue, redis_url).found == "none is alive, so nothing is uploaded"
    found = judged(queue, redis_url, silent=(facts(3),))
    assert found.status is Status.WARNING
    assert "penstock worker" in found.remedy
    assert "host:3" in found.found


def test_several_versions_are_a_warning_that_counts_them(queue: Queue, redis_url: str) -> None:
    found = judged(queue, redis_url, facts(1), facts(2, "1.1"), facts(3), silent=(facts(4, "0.9"),))
    assert (found.status, found.remedy) == (Status.WARNING, "finish the upgrade")
    assert "3 alive, versions 1.0 (2), 1.1 (1); not of one version" in found.found


def test_a_worker_that_stops_for_longer_than_a_stop_takes_is_a_warning(queue: Queue, redis_url: str) -> None:
    limit = STOP_TIMEOUT + STOP_SLACK
    assert judged(queue, redis_url, facts(1, state="stopping", state_seconds=limit - 1)).status is Status.OK
    found = judged(queue, redis_url, facts(1, state="stopping", state_seconds=limit + 70, in_flight=3))
    assert found.status is Status.WARNING
    assert "host:1 has been stopping for 2 min and holds 3 writes" in found.found
    assert "SIGTERM" in found.remedy


def test_several_ills_are_all_told_and_a_remedy_once(queue: Queue, redis_url: str) -> None:
    found = judged(queue, redis_url, facts(1, state="unfit"), facts(2, "1.1", state="unfit"))
    assert found.status is Status.WARNING
    assert found.found.count("its clock is wrong") == 2
    assert found.remedy == "finish the upgrade; set its host's clock by NTP"
