"""Some minutes in the life of a queue, for the pictures in docs/images: `make pictures`.

Two workers under a steady load: S3 fails and comes back, a release of the application writes what S3 refuses, a worker
dies. The guard waits a minute instead of sixteen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from monitoring.dashboard import PATH
from monitoring.dashboard.reading import read
from monitoring.pictures import Span, clock, draw
from penstock_worker.demo.servers import RedisServer
from tests.support.fault_s3 import Fault, FaultS3, latency, refusal
from tests.support.fleet import Fleet
from tests.support.mixed_load import MAIN, MixedLoad
from tests.support.prometheus import PrometheusProcess
from tests.support.wait import wait_until
from tests.support.worker import WorkerProcess

QUEUE = "default"
RATE = 60.0
STEP, WINDOW = 2, 10
"""Seconds between two scrapes, and of a rate."""
SETTINGS: dict[str, object] = {"lease_seconds": 15, "batch_max_wait": 1.5, "request_timeout": 5, "guard_seconds": 60}
IMAGES = Path(__file__).parents[2] / "docs" / "images"
NAMES = ("queue", "latency", "s3", "batches", "savings", "trouble", "workers")
"""Of the pictures of the dashboard's rows below the first, in their order; the last row, of spools, has none."""
LIMIT = 60.0

LATENCY = latency(0.03)
OUTAGE = refusal(500, "InternalError")
FLAKY = refusal(500, "InternalError", rate=0.3)
BAD_TAGS = refusal(400, "InvalidTag", tagged=True)
BUSY = refusal(503, "SlowDown", method="PUT", bucket=MAIN, above=45)

WARM_UP, IN_GOOD_TIMES, DURING_OUTAGE, END = 30, 60, 165, 360
"""Seconds; the first of them before the story, the others in it."""


def story(store: FaultS3, load: MixedLoad, fleet: Fleet) -> list[tuple[int, str, Callable[[], None]]]:
    """What happens, by the second."""

    def fails(*faults: Fault) -> None:
        """With these from now on, and no others; the first that strikes is the one, so latency comes last."""
        store.end()
        store.start(*faults, LATENCY)

    def release(bad_share: float) -> None:
        load.bad_share = bad_share

    fails(BAD_TAGS)

    return [
        (75, "S3 begins to fail", lambda: fails(BAD_TAGS, FLAKY)),
        (90, "S3 fails altogether", lambda: fails(OUTAGE)),
        (180, "S3 is well again", lambda: fails(BAD_TAGS)),
        (235, "a release of the application sets tags that S3 refuses", lambda: release(0.05)),
        (265, "it is rolled back", lambda: release(0.0)),
        (280, "S3 throttles", lambda: fails(BAD_TAGS, BUSY)),
        (310, "S3 throttles no more", lambda: fails(BAD_TAGS)),
        (325, "a worker is killed", lambda: fleet.workers[0].kill()),
    ]


def tell(images: Path) -> None:
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-story-")))
        for name in ("redis", "prometheus"):
            (scratch / name).mkdir()
        redis = stack.enter_context(RedisServer(scratch / "redis"))
        store = stack.enter_context(FaultS3())
        fleet = stack.enter_context(Fleet(redis.url, store.endpoint_url, QUEUE, **SETTINGS))
        workers = fleet.start_some(2)
        exporter = stack.enter_context(WorkerProcess(redis.url, store.endpoint_url, QUEUE, command="exporter"))
        jobs = {"penstock-worker": [one.sidecar for one in workers], "penstock-exporter": [exporter.sidecar]}
        prometheus = stack.enter_context(PrometheusProcess(scratch / "prometheus", jobs, interval=f"{STEP}s"))
        wait_until(lambda: prometheus.healthy_targets() == 3, LIMIT, "all targets were scraped")
        load = stack.enter_context(MixedLoad(redis.url, QUEUE, RATE))
        steps = story(store, load, fleet)
        time.sleep(WARM_UP)
        began = time.time()
        for second, what, happens in steps:
            time.sleep(max(0.0, began + second - time.time()))
            print(clock(second), what, flush=True)
            happens()
        time.sleep(max(0.0, began + END - time.time()))
        _draw(prometheus, began, images)


def _draw(prometheus: PrometheusProcess, began: float, images: Path) -> None:
    raw, rows = read(PATH)
    shade = raw["annotations"]["list"][0]["expr"]
    images.mkdir(parents=True, exist_ok=True)
    for row, name in zip(rows[1:-1], NAMES, strict=True):
        draw(row, shade, prometheus, Span(began, began + END, WINDOW, STEP), images / f"dashboard-{name}.png")
    for name, end in (("good", IN_GOOD_TIMES), ("outage", DURING_OUTAGE)):
        draw(rows[0], shade, prometheus, Span(began, began + end, WINDOW, STEP), images / f"dashboard-well-{name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="the folder that the pictures are written to")
    tell(parser.parse_args().images)
