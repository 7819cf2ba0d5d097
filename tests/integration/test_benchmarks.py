"""The benchmark runs end to end: its command, and what its measures are made of. No figure is judged here."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.processes import ProcessError, clean_environment
from benchmarks.stack import Stack
from benchmarks.table import markdown
from benchmarks.watch import drain_rate

pytestmark = pytest.mark.integration

LIMIT = 100.0
ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment({}), capture_output=True, text=True, timeout=LIMIT, check=False
    )


def test_a_measure_prints_its_row_and_writes_figures_and_pictures(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    ran = run("--quick", "--only", "put-many", "--json", str(report), "--pictures", str(tmp_path))

    assert ran.returncode == 0, ran.stderr
    assert "put_many" in ran.stdout
    assert "quick run" in ran.stdout
    found = json.loads(report.read_text())
    (result,) = found["results"]
    (figure,) = result["figures"]
    assert set(figure["values"]) == {"put_many", "bare EVALSHA"}
    assert all(len(rates) == 2 and min(rates) > 0 for rates in figure["values"].values())
    assert result["met"] is not None
    assert "| many writes, 1 KiB | put_many |" in markdown(found)
    assert str(tmp_path) not in report.read_text()
    assert (tmp_path / "benchmark-enqueue.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "nonsense"], "nonsense"),
        (["--pictures", "no/such/directory"], "no/such/directory"),
        (["--redis", "no/such/server"], "no/such/server"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_starts(arguments: list[str], named: str) -> None:
    ran = run("--quick", *arguments)

    assert ran.returncode == 2
    assert named in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize("nginx", [True, False], ids=["nginx, where it is", "stub"])
def test_a_worker_and_a_contender_drain_into_the_sink(nginx: bool) -> None:
    with Stack(nginx=nginx) as stack:
        stack.fill(300)
        with stack.queue() as queue, stack.worker(batch_max_wait=0.1):
            assert drain_rate(lambda: queue.stats().items, 300, limit=LIMIT) > 0
        with stack.contender("obstore_pool", own=True) as contender:
            assert contender.call("drain", count=100) > 0
            assert contender.call("drain", count=20, size=65536, compress=True) > 0
        stack.flush()
        assert stack.client.dbsize() == 0


@pytest.mark.parametrize("nginx", [True, False], ids=["nginx, where it is", "stub"])
def test_a_far_sink_answers_no_earlier_than_it_is_told_to(nginx: bool) -> None:
    with Stack(nginx=nginx) as stack, stack.latency(0.2) as endpoint:
        connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=LIMIT)
        with closing(connection):
            began = time.monotonic()
            connection.request("PUT", "/bucket/key", body=b"body")
            assert connection.getresponse().status == 200
            assert time.monotonic() - began >= 0.199  # nginx counts whole milliseconds


def test_a_contender_that_dies_is_told_with_the_end_of_its_log() -> None:
    with Stack(nginx=False) as stack, stack.contender("obstore_pool", own=True) as contender:  # noqa: SIM117
        with pytest.raises(ProcessError, match="nonsense"):
            contender.call("nonsense")
