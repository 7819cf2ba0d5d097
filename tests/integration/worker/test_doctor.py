"""`penstock doctor`: each ill is found by the check that is for it, with a remedy, and never hides another."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from penstock import Producer
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.queue.workers import Facts, beat
from penstock_worker.demo.servers import RedisServer, S3Server
from penstock_worker.doctor.base import Check, Status, ok, run_checks
from penstock_worker.doctor.s3_checks import S3_CHECKS
from penstock_worker.doctor.site import Site
from penstock_worker.settings import WorkerSettings
from tests.support.memory_s3 import MemoryS3, Request, Trouble, error
from tests.support.stub_s3 import closed_port
from tests.support.worker import BUCKET, environment, run_command

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration

LIMIT = 30.0
"""Seconds, against hangs only."""

FIT = ("--maxmemory", "4gb")  # room for the queue at its default limits

WORKER = Facts(host="a-host", pid=7, version="1.2.3")

Checks = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def fit_redis(tmp_path_factory: pytest.TempPathFactory, redis_executable: str | None) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("fit"), executable=redis_executable, extra=FIT) as server:
        yield server


def examine(env: Mapping[str, str], *options: str, workers: Sequence[Facts] = (WORKER,)) -> tuple[int, Checks]:
    """Exit status, and the checks by name. ``workers`` are alive, as far as the queue was told."""
    if workers:
        enlist(env["PENSTOCK_REDIS_URL"], env["PENSTOCK_QUEUE"], workers)
    done = run_command("doctor", "--json", *options, env=env)
    assert b"Traceback" not in done.stderr, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == {"ok": 0, "warning": 1, "broken": 2}[printed["status"]]
    checks = {check["check"]: check for check in printed["checks"]}
    for check in checks.values():
        assert check.keys() == {"check", "status", "found", "remedy"}
        assert check["found"]
        assert bool(check["remedy"]) or check["status"] in ("ok", "skipped")
    return done.returncode, checks


def enlist(url: str, queue_name: str, workers: Sequence[Facts]) -> None:
    """Lets them beat an hour ahead of the time, so that they are alive when the doctor comes, however late."""
    clock = "local function clock() return (redis.call('TIME')[1] + 3600) * 1e6 end"
    client = open_client(url, LIMIT)
    with suppress(redis.exceptions.RedisError), closing(client):  # some doctors are called because Redis is away
        for number, facts in enumerate(workers):
            beat(Queue(client, queue_name, clock=clock), f"worker-{number}", facts)


def statuses(checks: Checks, status: str) -> set[str]:
    return {name for name, check in checks.items() if check["status"] == status}


def allow_rule(s3: S3Client, bucket: str, days: int) -> None:
    rule: Any = {"ID": "end", "Status": "Enabled", "Filter": {"Prefix": ""}}
    rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": days}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


def test_all_is_well_on_a_fit_redis_and_bucket_and_nothing_is_left_behind(
    fit_redis: RedisServer, queue_name: str, s3_server: S3Server, s3: S3Client, bucket: str
) -> None:
    allow_rule(s3, bucket, 7)
    env = environment(fit_redis.url, s3_server.endpoint_url, queue_name, {"bucket": bucket})
    for engine in ("obstore", "boto3"):
        status, checks = examine({**env, "PENSTOCK_S3_ENGINE": engine})
        assert statuses(checks, "broken") | statuses(checks, "warning") == set(), checks
        assert status == 0
        assert len(checks) > 20
        assert "7 days" in checks["s3 lifecycle"]["found"]
        assert checks["s3 tags"]["found"] == "the tags came back"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    shown = run_command("doctor", env=env).stdout.decode()
    assert "redis appendfsync" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert shown.splitlines()[-1].startswith("28 ok"), "what is not well would stand behind it"


def test_a_redis_that_may_lose_writes_is_named_setting_by_setting(
    tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    def checks_with(*extra: str) -> tuple[int, Checks]:
        with RedisServer(tmp_path, executable=redis_executable, extra=extra) as server:
            return examine(environment(server.url, "http://127.0.0.1:1", queue_name, {}), "--no-s3")

    status, checks = checks_with("--appendonly", "no", "--maxmemory", "4gb", "--maxmemory-policy", "allkeys-lru")
    assert status == 2
    assert statuses(checks, "broken") == {"redis maxmemory-policy"}
    assert statuses(checks, "warning") == {"redis appendonly"}
    assert checks["redis appendfsync"]["status"] == "skipped"
    status, checks = checks_with("--appendfsync", "no", "--maxmemory", "100mb")
    assert status == 1
    assert statuses(checks, "warning") == {"redis appendfsync", "redis memory"}
    assert "lower the queue's limits" in checks["redis memory"]["remedy"]
    _, checks = checks_with("--maxmemory", "4gb", "--replicaof", "127.0.0.1", str(closed_port()))
    assert "PENSTOCK_REDIS_URL" in checks["redis replication"]["remedy"]
    assert "redis replication" in statuses(checks, "broken")


def test_a_managed_redis_without_config_is_judged_by_info(
    fit_redis: RedisServer, redis_executable: str | None, queue_name: str
) -> None:
    with redis.Redis.from_url(fit_redis.url) as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">word", "~*", "&*", "+@all", "-config")
    url = fit_redis.url.replace("redis://", "redis://app:word@")
    status, checks = examine(environment(url, "http://127.0.0.1:1", queue_name, {}), "--no-s3")
    assert status == 0
    assert "CONFIG is refused" in checks["redis appendfsync"]["found"]
    assert statuses(checks, "ok") >= {"redis appendonly", "redis maxmemory-policy", "redis memory", "redis version"}
    assert "word@" not in json.dumps(checks), "no password is shown"


def test_a_redis_that_is_not_there_is_one_broken_check_and_s3_is_checked_all_the_same(
    queue_name: str, s3_server: S3Server, bucket: str
) -> None:
    env = environment(f"redis://127.0.0.1:{closed_port()}/0", s3_server.endpoint_url, queue_name, {"bucket": bucket})
    status, checks = examine(env)
    assert status == 2
    assert statuses(checks, "broken") == {"redis"}
    assert {name for name in checks if name.startswith("redis ")} | {"queue"} <= statuses(checks, "skipped")
    assert checks["s3 put"]["status"] == "ok"


def test_an_s3_that_is_not_there_or_has_no_such_bucket_is_one_broken_check(
    fit_redis: RedisServer, queue_name: str, s3_server: S3Server
) -> None:
    for endpoint in (f"http://127.0.0.1:{closed_port()}", s3_server.endpoint_url):
        status, checks = examine(environment(fit_redis.url, endpoint, queue_name, {"bucket": "no-such-bucket"}))
        assert status == 2
        assert statuses(checks, "broken") == {"s3 bucket"}
        assert {"s3 put", "s3 delete", "s3 lifecycle"} <= statuses(checks, "skipped")


def test_settings_that_make_no_client_are_told_as_such_and_the_rest_is_skipped(queue_name: str) -> None:
    env = environment("mysql://:password@host", "not-a-url", queue_name, {"bucket": BUCKET})
    status, checks = examine(env, workers=())
    assert (status, statuses(checks, "broken")) == (2, {"redis", "s3 credentials"})
    assert "PENSTOCK_REDIS_URL" in checks["redis"]["found"]
    assert "S3" in checks["s3 credentials"]["found"]
    assert "bug" not in json.dumps(checks)
    assert "password" not in json.dumps(checks)


def test_what_has_hung_once_is_not_waited_for_again() -> None:
    site = Site(WorkerSettings(bucket=BUCKET))
    never = threading.Event()
    site.__dict__["boto"] = SimpleNamespace(credentials=SimpleNamespace(current=lambda: never.wait(LIMIT)))
    results = list(run_checks(S3_CHECKS, site, limit=0.2))
    assert [result.status for result in results] == [Status.BROKEN] + [Status.SKIPPED] * (len(S3_CHECKS) - 1)


def denied(what: str, request: Request) -> bool:
    """Whether a user without the right ``what`` is refused this."""
    if request.query in ("tagging", "lifecycle"):
        return what == f"get-{request.query}"
    if request.method == "PUT":
        return what == "put" or (what == "put-tags" and "x-amz-tagging" in request.headers)
    if request.method == "GET":
        return what == "get"
    if request.method == "DELETE":
        return what == "delete"
    return what == "list" and request.method == "HEAD" and (not request.key or request.key.endswith("-missing"))


@pytest.mark.parametrize(
    ("what", "check", "found", "permission"),
    [
        ("put", "s3 put", "broken", "s3:PutObject"),
        ("put-tags", "s3 put with tags", "broken", "s3:PutObjectTagging"),
        ("get", "s3 get", "broken", "s3:GetObject"),
        ("delete", "s3 delete", "broken", "s3:DeleteObject"),
        ("list", "s3 list", "warning", "s3:ListBucket"),
    ],
)
def test_a_missing_permission_is_found_by_its_own_check_and_named(
    what: str, check: str, found: str, permission: str, fit_redis: RedisServer, queue_name: str, sink: MemoryS3
) -> None:
    def judge(request: Request) -> Trouble | None:
        if denied(what, request):
            return error(403, "AccessDenied")
        if request.query == "tagging":
            return error(403, "AccessDenied")
        if request.query == "lifecycle":
            return error(501, "NotImplemented")
        return Trouble(200) if request.method == "HEAD" and not request.key else None

    sink.judge = judge
    _, checks = examine(environment(fit_redis.url, sink.endpoint_url, queue_name, {"bucket": BUCKET}))
    expected = {check, "s3 put with tags"} if what == "put" else {check}
    assert statuses(checks, "broken") | statuses(checks, "warning") == expected
    assert checks[check]["status"] == found
    assert permission in checks[check]["remedy"]
    assert {"s3 tags", "s3 lifecycle"} <= statuses(checks, "skipped")
    left = [key for bucket, key in sink.objects if bucket == BUCKET]
    assert bool(left) == (what == "delete")
    assert all(key.startswith("penstock-doctor/") and key in checks["s3 delete"]["remedy"] for key in left)


def test_a_bucket_without_a_rule_for_unfinished_uploads_is_a_warning(
    fit_redis: RedisServer, queue_name: str, s3_server: S3Server, bucket: str
) -> None:
    status, checks = examine(environment(fit_redis.url, s3_server.endpoint_url, queue_name, {"bucket": bucket}))
    assert (status, statuses(checks, "warning")) == (1, {"s3 lifecycle"})
    assert "AbortIncompleteMultipartUpload" in checks["s3 lifecycle"]["remedy"]


def test_dead_letters_and_a_full_queue_are_told(fit_redis: RedisServer, queue_name: str) -> None:
    client = open_client(fit_redis.url, LIMIT)
    Queue(client, queue_name).configure(items=10)
    with Producer(fit_redis.url, queue=queue_name, bucket=BUCKET) as producer:
        for number in range(9):
            producer.put(f"{number}", b"body")
    client.close()
    env = environment(fit_redis.url, "http://127.0.0.1:1", queue_name, {})
    status, checks = examine(env, "--no-s3")
    assert (status, statuses(checks, "warning")) == (1, {"queue"})
    assert "9 waiting" in checks["queue"]["found"]


def test_a_wrong_setting_is_a_finding_and_settings_that_do_not_go_together_are_warnings(
    fit_redis: RedisServer, queue_name: str
) -> None:
    env = environment(fit_redis.url, "http://127.0.0.1:1", queue_name, {"batch_max_items": 0})
    status, checks = examine(env)
    assert (status, list(checks)) == (2, ["settings"])
    assert "PENSTOCK_BATCH_MAX_ITEMS" in checks["settings"]["found"]
    odd = {"bucket": "one", "allowed_buckets": "two", "stop_timeout": 1}
    env = environment(fit_redis.url, "http://s3.example:1", queue_name, odd)
    status, checks = examine(env, "--no-s3")
    assert (status, statuses(checks, "warning")) == (1, {"settings buckets", "settings stop", "settings encryption"})
    env["AWS_ENDPOINT_URL_S3"] = env.pop("PENSTOCK_S3_ENDPOINT_URL")  # boto3's own goes as well
    _, checks = examine(env, "--no-s3")
    assert "http://s3.example:1" in checks["settings encryption"]["found"]


def test_a_stop_s_time_is_compared_with_what_the_largest_body_may_take(fit_redis: RedisServer, queue_name: str) -> None:
    env = environment(fit_redis.url, "http://127.0.0.1:1", queue_name, {"max_body_bytes": "64MiB"})
    _, checks = examine(env, "--no-s3")
    assert checks["settings stop"]["status"] == "warning"
    assert "PENSTOCK_STOP_TIMEOUT to 69" in checks["settings stop"]["remedy"]


def test_a_check_that_fails_or_hangs_does_not_stop_the_others() -> None:
    never = threading.Event()

    def fails(site: Site) -> Any:
        raise KeyError("a bug")

    def hangs(site: Site) -> Any:
        never.wait(LIMIT)

    site = Site(WorkerSettings())
    checks = [Check("fails", fails), Check("hangs", hangs), Check("works", lambda site: ok("well"))]
    results = list(run_checks(checks, site, limit=0.2))
    assert [result.status for result in results] == [Status.BROKEN, Status.BROKEN, Status.OK]
    assert "KeyError" in results[0].found
    assert "0.2 s" in results[1].found
