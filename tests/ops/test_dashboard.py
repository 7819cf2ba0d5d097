"""Every expression of the dashboard gives something on a real Prometheus, once what it is there for has happened.

Two workers and an exporter under a load in which all goes wrong that a panel shows: only then is an empty panel, which
is right in good times, told from one that asks for the wrong thing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.dashboard import PATH
from monitoring.dashboard.reading import Panel, Target, filled, read
from penstock import Producer
from penstock.calls import Options
from penstock.queue.blocks import block, unblock
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock.spool.duty import replay_all
from tests.support.fault_s3 import FaultS3, refusal
from tests.support.fleet import Fleet
from tests.support.mixed_load import MAIN, SECOND, MixedLoad
from tests.support.prometheus import PrometheusProcess
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until
from tests.support.worker import WorkerProcess

LIMIT = 90.0
"""Seconds, against hangs only."""
WINDOW = 5
"""Seconds of a rate, at a scrape a second."""
RATE = 150.0
NOBODY = "redis://127.0.0.1:1/0"
"""Where no Redis answers."""

RAW, ROWS = read(PATH)
PANELS = {panel.title: panel for row in ROWS for panel in row.panels}

EACH_PRIORITY = {"critical", "high", "normal", "low"}
SERIES = {
    "Ready writes by priority": EACH_PRIORITY,
    "Oldest waiting write by priority": EACH_PRIORITY,
    "Accept to stored, p50": EACH_PRIORITY,
    "Accept to stored, p95": EACH_PRIORITY,
    "Accept to stored, p99": EACH_PRIORITY,
    "Refused writes": {"items"},
    "Requests to S3": {"put ok", "put error", "delete ok", "delete error"},
    "S3 errors by code": {
        # Not AccessDenied: what a worker counts before its first reading and never again makes no rate.
        "InternalError 500 (unknown)", "SlowDown 503 (throttle)",
        "InvalidTag 400 (permanent)",
    },
    "Suspended and paused": {SECOND},
    "Upload concurrency": {MAIN, SECOND},
    "Writes by outcome": {"stored", "deleted", "retried", "dead", "superseded"},
    "Batches by outcome": {"ok", "partial"},
    "Contested objects and the guard": {"contested", "looks: fine"},
    "Sent on from spools": {"sent on", "superseded"},
    "Spools and damage": {"readable", "files set aside"},
}  # fmt: skip
"""Those of a panel's series that must have been above zero; of all other panels, each expression's."""


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[Queue]:
    client = open_client(redis_url, LIMIT)
    yield Queue(client, queue_name)
    client.close()


@pytest.fixture
def store() -> Iterator[FaultS3]:
    """Refuses one bucket, and of the other what has tags; now and then it fails or is too busy."""
    with FaultS3() as server:
        server.start(
            refusal(403, "AccessDenied", bucket=SECOND),
            refusal(400, "InvalidTag", tagged=True),
            refusal(500, "InternalError", bucket=MAIN, rate=0.08),
            refusal(503, "SlowDown", bucket=MAIN, method="PUT", rate=0.02),
        )
        yield server


@pytest.fixture
def workers(redis_url: str, queue_name: str, store: FaultS3) -> Iterator[list[WorkerProcess]]:
    with Fleet(redis_url, store.endpoint_url, queue_name) as fleet:
        fleet.options += ("--put-off", "0.5-2")
        yield fleet.start_some(2)


@pytest.fixture
def prometheus(
    tmp_path: Path, redis_url: str, queue_name: str, store: FaultS3, workers: list[WorkerProcess]
) -> Iterator[PrometheusProcess]:
    """Scrapes both workers, an exporter, and one more worker that does not answer."""
    with WorkerProcess(
        redis_url, store.endpoint_url, queue_name, command="exporter", spool=tmp_path / "spool"
    ) as exporter:
        targets = [worker.sidecar for worker in workers]
        jobs = {"penstock-worker": [*targets, f"127.0.0.1:{closed_port()}"], "penstock-exporter": [exporter.sidecar]}
        with PrometheusProcess(tmp_path, jobs) as server:
            wait_until(lambda: server.healthy_targets() == 3, LIMIT, "all that live were scraped")
            yield server


class Asker:
    """Asks for what the dashboard asks for, since the test began."""

    def __init__(self, prometheus: PrometheusProcess) -> None:
        self._prometheus = prometheus
        self._began = time.time()

    def moved(self, target: Target) -> set[str]:
        """Names of the series that were something else than zero at some time."""
        now = time.time()
        expr = filled(target.expr, window=WINDOW, whole=int(now - self._began) + 1)
        found = self._prometheus.query_range(expr, self._began, now, 1)
        return {
            target.series(one["metric"])
            for one in found
            if any(not math.isnan(value) and value != 0 for value in _numbers(one["values"]))
        }

    def empty(self, panel: Panel) -> list[str]:
        """What has not shown yet: series that must have, and expressions without any."""
        moved = {target.expr: self.moved(target) for target in panel.targets}
        return [expr for expr, names in moved.items() if not names] + sorted(
            SERIES.get(panel.title, set()).difference(*moved.values())
        )

    def at(self, moment: float, title: str, instance: str = ".+") -> dict[str, float]:
        """What a panel showed at a time: values by the series' names."""
        shown: dict[str, float] = {}
        for target in PANELS[title].targets:
            expr = filled(target.expr, instance=instance, window=WINDOW)
            found = self._prometheus.query_range(expr, moment, moment, 1)
            shown |= {target.series(one["metric"]): _numbers(one["values"])[0] for one in found}
        return shown


def _numbers(values: list[list[str]]) -> list[float]:
    return [float(value) for _, value in values]


def _spool(directory: Path, queue: str) -> None:
    """A host has spooled a write, and set a file aside."""
    with Producer(NOBODY, queue=queue, bucket=MAIN, timeout=0.2, spool=str(directory)) as away:
        assert away.put("spooled", b"older").spooled
    (directory / f"{queue}.spool.aside-1").touch()


def _replay(directory: Path, url: str, queue: str) -> None:
    """A newer write has come to Redis before."""
    with Producer(url, queue=queue, bucket=MAIN) as elsewhere:
        elsewhere.put("spooled", b"newer")
    options = Options.make(url, queue, None, LIMIT, 1 << 20, None, "memory", str(directory))
    assert replay_all(options, str(directory), threading.Event())


def test_every_expression_shows_what_happens(
    prometheus: PrometheusProcess, workers: list[WorkerProcess], queue: Queue, redis_url: str, tmp_path: Path
) -> None:
    ask = Asker(prometheus)
    empty = {title: ["not looked at"] for title in PANELS}

    def all_shown() -> bool:
        for title in list(empty):
            empty[title] = ask.empty(PANELS[title])
            if not empty[title]:
                del empty[title]
        return not empty

    with MixedLoad(redis_url, queue.name, RATE) as load:
        load.bad_share = 0.02
        queue.configure(items=1)
        wait_until(lambda: load.full, LIMIT, "the queue refuses writes")
        queue.configure(items=1_000_000)
        block(queue, None, None)
        _spool(tmp_path / "spool", queue.name)
        wait_until(lambda: prometheus.query("penstock_queue_paused == 1"), LIMIT, "the pause is seen")
        wait_until(lambda: prometheus.query("penstock_spool_oldest_age_seconds > 0"), LIMIT, "the spool is seen")
        _replay(tmp_path / "spool", redis_url, queue.name)
        queue.set_meta({"epoch_of": "another:server"})  # as if Redis had restarted: the next claim begins an epoch
        unblock(queue, None, None)
        try:
            wait_until(all_shown, LIMIT, "every expression has shown something")
        except AssertionError as error:
            raise AssertionError(f"never seen: {empty}") from error
        while_busy = time.time()
    _agrees_with_the_queue(ask, prometheus, queue)
    _adds_up_what_each_worker_counts(ask, while_busy, [worker.sidecar for worker in workers])


def _agrees_with_the_queue(ask: Asker, prometheus: PrometheusProcess, queue: Queue) -> None:
    """Three targets expose the queue's numbers: the dashboard shows them once."""
    block(queue, None, None)
    stats = wait_until(lambda: [one for one in [queue.stats()] if not one.inflight], LIMIT, "claims have ended")[0]
    assert stats.unfinished > 0
    wanted = {
        ("Waiting writes", "writes"): stats.unfinished,
        ("Dead letters", "writes"): stats.dead,
        ("Held up", "suspended"): 1,
        ("Held up", "paused"): 1,
        ("Workers up", "workers"): 2,
        ("Not answering", "targets"): 1,
    }

    def shown() -> dict[tuple[str, str], float]:
        now = time.time()
        return {(title, name): ask.at(now, title).get(name, math.nan) for title, name in wanted}

    wait_until(lambda: shown() == wanted, LIMIT, f"the dashboard shows {wanted}")
    assert len(prometheus.query("penstock_queue_bytes")) == 3


def _adds_up_what_each_worker_counts(ask: Asker, moment: float, sidecars: list[str]) -> None:
    single = [ask.at(moment, "In and out", instance) for instance in sidecars]
    both = ask.at(moment, "In and out")
    assert all(one["out"] > 0 for one in single)
    assert both["out"] == pytest.approx(sum(one["out"] for one in single))
    assert both["in"] <= 1.2 * max(one["in"] for one in single), "each tells of all accepted writes"
    assert set(ask.at(moment, "Claims by worker")) == set(sidecars)
