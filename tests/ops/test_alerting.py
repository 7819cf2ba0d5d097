"""From the first error of S3 to the pager and back: real workers, Prometheus and Alertmanager, rendered rules."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import Producer, Write
from tests.support.fault_s3 import FaultS3, refusal
from tests.support.prometheus import AlertmanagerProcess, PrometheusProcess
from tests.support.wait import wait_until
from tests.support.webhook import AlertReceiver
from tests.support.worker import BUCKET, WorkerProcess, environment, run_command

LIMIT = 90.0
"""Seconds, against hangs only."""
CONFIG = Path(__file__).parents[2] / "monitoring" / "alertmanager.yml"
WINDOW = "10s"
FLAGS = {
    "s3-error-window-warning": WINDOW, "s3-error-window-critical": WINDOW, "s3-latency-window": WINDOW,
    "stored-share-window": WINDOW, "delete-failure-window": WINDOW,
    "bucket-suspended-for": "1s", "worker-missing-for": "5s", "runbook-url": "https://wiki.example/penstock",
}  # fmt: skip
WRITES = 10
PACE = 0.1  # seconds: a hundred writes a second, far above the floor of the rules and far below what a worker can do


@contextmanager
def _load(redis_url: str, queue: str) -> Iterator[None]:
    """Writes from one producer, as long as the context."""
    ended = threading.Event()

    def write() -> None:
        number = 0
        with Producer(redis_url, queue=queue, bucket=BUCKET, timeout=LIMIT) as producer:
            while not ended.wait(PACE):
                producer.put_many([Write(key=f"{number}/{n}", body=b"body", priority="high") for n in range(WRITES)])
                number += 1

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LIMIT)


def _routes(receiver: AlertReceiver) -> dict[str, Any]:
    """The file in the tree, with a local receiver in the place of PagerDuty and Slack, and in a hurry."""
    settings: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    for route in (settings["route"], *settings["route"]["routes"]):
        route |= {"group_wait": "2s", "group_interval": "1s"}
    for one in settings["receivers"]:
        path = {"penstock-pagerduty": "critical", "penstock-slack": "warning"}.get(one["name"])
        one.pop("pagerduty_configs", None)
        one.pop("slack_configs", None)
        if path:
            one["webhook_configs"] = [{"url": f"{receiver.url}/{path}", "send_resolved": True}]
    return settings


@pytest.mark.timeout(300)
def test_what_fails_pages_somebody_and_what_is_cured_is_resolved(
    tmp_path: Path, redis_url: str, queue_name: str
) -> None:
    rules = tmp_path / "rules.yml"
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    done = run_command("alerts", "render", f"--output={rules}", *flags, env=environment(redis_url, "", queue_name, {}))
    assert done.returncode == 0, done.stderr
    for name in ("prometheus", "alertmanager"):
        (tmp_path / name).mkdir()
    with (
        FaultS3() as store,
        AlertReceiver() as receiver,
        AlertmanagerProcess(tmp_path / "alertmanager", _routes(receiver)) as manager,
        WorkerProcess(redis_url, store.endpoint_url, queue_name, batch_max_wait=0.1) as worker,
        WorkerProcess(redis_url, store.endpoint_url, queue_name, command="exporter") as exporter,
        PrometheusProcess(
            tmp_path / "prometheus",
            {"penstock-worker": [worker.sidecar], "penstock-exporter": [exporter.sidecar]},
            labels={"queue": queue_name},
            rules=[rules],
            alertmanager=manager.address,
        ) as prometheus,
    ):

        def told(path: str, alert: str, status: str) -> None:
            wait_until(lambda: receiver.status(path, alert) == status, LIMIT, f"{alert} is {status}")

        def firing() -> set[str]:
            return {one["labels"]["alertname"] for one in prometheus.alerts() if one["state"] == "firing"}

        with _load(redis_url, queue_name):
            stored = f"sum(increase(penstock_writes_total{{outcome='stored'}}[{WINDOW}])) > 100"
            wait_until(lambda: prometheus.query(stored), LIMIT, "the worker is under load")
            assert firing() == set()
            assert receiver.alerts("/critical") == receiver.alerts("/warning") == []

            # S3 throttles: three of ten requests.
            with store.broken(refusal(503, "SlowDown", rate=0.3)):
                told("/critical", "PenstockS3CriticalErrorRate", "firing")
                wait_until(lambda: _suppressed(manager, "PenstockS3HighErrorRate"), LIMIT, "its warning is muted")
            told("/critical", "PenstockS3CriticalErrorRate", "resolved")
            assert {one["labels"]["alertname"] for one in receiver.alerts("/critical")} == {
                "PenstockS3CriticalErrorRate"
            }

            # S3 is wholly away.
            with store.broken(refusal(500, "InternalError")):
                told("/critical", "PenstockBucketSuspended", "firing")
            told("/critical", "PenstockBucketSuspended", "resolved")

            # The only worker dies; the exporter is left to tell.
            worker.kill()
            told("/critical", "PenstockWorkerDown", "firing")
            with WorkerProcess(
                redis_url, store.endpoint_url, queue_name, batch_max_wait=0.1, sidecar_port=worker.sidecar.split(":")[1]
            ):
                told("/critical", "PenstockWorkerDown", "resolved")
                wait_until(lambda: not firing(), LIMIT, "nothing fires any more")

    for alert in receiver.alerts("/critical") + receiver.alerts("/warning"):
        name = alert["labels"]["alertname"]
        assert alert["labels"]["queue"] == queue_name
        assert alert["annotations"]["runbook_url"] == f"https://wiki.example/penstock#{name.lower()}"
        assert queue_name in alert["annotations"]["description"]


def _suppressed(manager: AlertmanagerProcess, name: str) -> bool:
    return any(one["labels"]["alertname"] == name and one["status"]["inhibitedBy"] for one in manager.alerts())
