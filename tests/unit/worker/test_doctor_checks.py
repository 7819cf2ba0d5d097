"""Checks of the doctor's whose ills no server here can be given: judged by what INFO or S3's headers say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from penstock_worker.doctor import redis_checks, s3_checks
from penstock_worker.doctor.base import Finding, Status
from penstock_worker.doctor.site import Site
from penstock_worker.settings import WorkerSettings
from penstock_worker.stores.bucket import BucketAnswer

GOOD = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction", "role": "master"}


def judged(check: Callable[[Site], Finding], **info: Any) -> Finding:
    class Told(Site):
        def info(self) -> dict[str, Any]:
            return {**GOOD, **info}

    return check(Told(WorkerSettings()))


@pytest.mark.parametrize(
    ("check", "info", "status"),
    [
        (redis_checks.version, {}, Status.OK),
        (redis_checks.version, {"redis_version": "6.2.14"}, Status.BROKEN),
        (redis_checks.version, {"redis_version": "10.0.1"}, Status.OK),
        (redis_checks.append_only, {}, Status.OK),
        (redis_checks.append_only, {"aof_enabled": 0}, Status.WARNING),
        (redis_checks.append_only, {"aof_last_write_status": "err"}, Status.BROKEN),
        (redis_checks.append_only, {"aof_last_bgrewrite_status": "err"}, Status.BROKEN),
        (redis_checks.eviction, {"maxmemory_policy": "volatile-lru", "maxmemory": 0}, Status.WARNING),
        (redis_checks.eviction, {"maxmemory_policy": "volatile-lru", "maxmemory": 1}, Status.BROKEN),
        (redis_checks.replication, {}, Status.OK),
        (redis_checks.replication, {"role": "slave", "master_host": "other"}, Status.BROKEN),
        (redis_checks.replication, {"connected_slaves": 1, "slave0": {"state": "online"}}, Status.OK),
        (redis_checks.replication, {"connected_slaves": 1, "slave0": {"state": "wait_bgsave"}}, Status.WARNING),
    ],
)
def test_redis_is_judged_by_info(check: Callable[[Site], Finding], info: dict[str, Any], status: Status) -> None:
    found = judged(check, **info)
    assert found.status is status
    assert bool(found.remedy) == (status is not Status.OK)


def bucket_site(region: str | None = "us-east-1", ahead: float | None = 0.0) -> Site:
    """A site whose S3 has answered HeadBucket; this host is ``ahead`` of it by so many seconds."""
    site = Site(WorkerSettings(bucket="the-bucket"))
    date = None if ahead is None else datetime.now(UTC) - timedelta(seconds=ahead)
    site.head = BucketAnswer(None, region, date)
    site.__dict__["boto"] = cast("Any", SimpleNamespace(region="us-east-1"))
    return site


def test_a_bucket_in_another_region_is_told_with_the_setting_that_cures_it() -> None:
    assert s3_checks.region(bucket_site()).status is Status.OK
    assert s3_checks.region(bucket_site("eu-central-1")).remedy == "set PENSTOCK_S3_REGION=eu-central-1"
    assert s3_checks.region(bucket_site(None)).status is Status.SKIPPED


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (0.0, Status.OK),
        (-120.0, Status.WARNING),
        (120.0, Status.WARNING),
        (-960.0, Status.BROKEN),
        (960.0, Status.BROKEN),
        (None, Status.SKIPPED),
    ],
)
def test_the_clock_is_judged_by_the_date_of_s3s_answer(ahead: float | None, status: Status) -> None:
    assert s3_checks.clock(bucket_site(ahead=ahead)).status is status
