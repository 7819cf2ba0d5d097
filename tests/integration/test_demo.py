"""`penstock demo`, the real command as a process."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock_worker.quantiles import histogram_quantile
from tests.support.wait import wait_until

pytestmark = pytest.mark.integration

DEMO_SECONDS = 90.0
"""For a whole demo, which takes about ten on an idle machine."""
IMPORTABLE = os.pathsep.join([os.path.abspath(path) for path in sys.path])
"""The packages may be importable here only because pytest or the shell says so."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Thirty files, odd ones among them."""
    directory = tmp_path / "in put"
    odd = {
        "empty": b"",
        "large.bin": bytes(range(256)) * 1200,
        "with space.txt": b"spaces " * 100,
        "früh/ü+&%20?#.txt": "grün ".encode() * 100,
        "a/b/c/deep.json": b"{}",
    }
    for name, body in (odd | {f"plain-{number}.txt": b"text %d " % number * number for number in range(25)}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return directory


@contextmanager
def demo(*options: str, work: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Works in ``work`` and has its temporary files there; none of its processes outlives the test."""
    work.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "penstock_worker", "demo", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=work,
        env={**os.environ, "PYTHONPATH": IMPORTABLE, "TMPDIR": str(work), **environ},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        for pid in family(work):
            os.kill(pid, signal.SIGKILL)


def family(work: Path) -> set[int]:
    """Every living process that works in ``work`` or below: the demo and what it has started.

    A working directory is inherited and shown by the system; Redis writes over its environment and command line.
    """
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                directory = (entry / "cwd").readlink()
            except OSError:  # ended meanwhile, or another user's
                continue
            if directory.is_relative_to(work):
                found.add(int(entry.name))
    return found


def finish(process: subprocess.Popen[str], seconds: float = DEMO_SECONDS) -> tuple[str, str]:
    return process.communicate(timeout=seconds)


def test_every_file_is_stored_and_the_summary_adds_up(files: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    # What leads elsewhere must not be followed; a proxy, too.
    elsewhere = {
        "PENSTOCK_REDIS_URL": "redis://127.0.0.1:1/0",
        "AWS_PROFILE": "nobody",
        "http_proxy": "http://127.0.0.1:1",
    }
    with demo("--dir", str(files), "--json", work=work, **elsewhere) as process:
        output, errors = finish(process)
    assert process.returncode == 0, errors
    summary: dict[str, Any] = json.loads(output)
    assert summary["ok"] is True
    assert summary["problems"] == []
    assert summary["files"] == {"enqueued": 30, "bytes": size_of(files), "skipped": {}, "more_beyond_limit": False}
    writes = summary["writes"]
    assert writes["accepted"] == (
        writes["coalesced"] + writes["stored"] + writes["deleted"] + writes["superseded"] + writes["dead"]
    )
    assert writes["coalesced"] >= 2
    assert (writes["dead"], writes["left"]) == (0, 0)
    assert summary["objects"] | {"compressed": 0} == {
        "right": 27, "compressed": 0, "wrong": {}, "missing": [], "unexpected": []
    }  # fmt: skip
    assert 0 < summary["bytes"]["after"] < summary["bytes"]["before"]
    assert 0 < summary["accept_seconds"]["p50"] <= summary["accept_seconds"]["p99"]
    reached = [row["writes"] for row in summary["accept_to_stored_seconds"].values()]
    assert sum(reached) == writes["stored"] + writes["deleted"]
    assert family(work) == set()
    assert list(work.iterdir()) == []


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["starting", "working", "kept"])
def test_a_signal_ends_it_and_leaves_nothing(files: Path, tmp_path: Path, moment: str, number: signal.Signals) -> None:
    work = tmp_path / "work"
    with demo("--dir", str(files), "--keep", work=work) as process:
        lines = Lines(process)
        if moment == "starting":
            wait_until(lambda: len(family(work)) >= 2, DEMO_SECONDS, "a first server")
        else:
            lines.wait_for("30 files" if moment == "working" else "Ctrl-C")
            assert len(family(work)) == 4
        process.send_signal(number)
        assert process.wait(DEMO_SECONDS) == 128 + number
        lines.end()
    assert lines.errors == [f"stopped by {number.name}: no process is left\n"]
    assert family(work) == set()
    assert list(work.iterdir()) == []


class Lines:
    """Reads what a process prints on threads, so that no pipe fills up and a test can wait for a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.output: list[str] = []
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=lines.extend, args=(stream,))
            for lines, stream in ((self.output, process.stdout), (self.errors, process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def wait_for(self, text: str) -> None:
        def found() -> bool:
            ended = self._process.poll() is not None
            if any(text in line for line in self.output):
                return True
            assert not ended, f"it ended without {text!r}: {self.output + self.errors}"
            return False

        wait_until(found, DEMO_SECONDS, f"{text!r} in the output")

    def end(self) -> None:
        for thread in self._threads:
            thread.join(DEMO_SECONDS)


def test_a_worker_that_dies_is_an_error_with_its_log(files: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    with demo("--dir", str(files), "--keep", work=work) as process:
        lines = Lines(process)
        lines.wait_for("Ctrl-C")
        os.kill(worker_of(work), signal.SIGKILL)
        assert process.wait(DEMO_SECONDS) == 1
        lines.end()
    assert "worker on port" in lines.errors[0]
    assert "ended by itself" in lines.errors[0]
    (kept,) = work.iterdir()
    assert str(kept) in "".join(lines.output)
    assert (kept / "worker.log").stat().st_size > 0
    assert family(work) == set()


def worker_of(work: Path) -> int:
    (pid,) = [
        pid for pid in family(work) if b"\0penstock_worker\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return pid


@pytest.mark.parametrize("content", [None, "nothing"])
def test_a_directory_without_files_is_wrong_use(tmp_path: Path, content: str | None) -> None:
    directory = tmp_path / "input"
    if content is not None:
        directory.mkdir()
    with demo("--dir", str(directory), work=tmp_path / "work") as process:
        output, errors = finish(process)
    assert process.returncode == 2
    assert output == ""
    assert errors.count("\n") == 1
    assert str(directory) in errors


def test_a_file_that_is_too_large_is_skipped_and_said(files: Path, tmp_path: Path) -> None:
    with demo("--dir", str(files), work=tmp_path / "work", PENSTOCK_MAX_BODY_BYTES="64KiB") as process:
        output, errors = finish(process)
    assert process.returncode == 0, errors
    assert "skipped 1: larger than PENSTOCK_MAX_BODY_BYTES" in output


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys; sys.modules['moto'] = None  # as if it were not installed\n")
    with demo(work=tmp_path / "work", PYTHONPATH=os.pathsep.join([str(hidden), IMPORTABLE])) as process:
        output, errors = finish(process)
    assert (process.returncode, output) == (2, "")
    assert errors.count("\n") == 1
    assert "pip install 'penstock[demo]'" in errors


def test_a_histograms_quantile_lies_inside_its_bucket() -> None:
    buckets = [(0.1, 10.0), (1.0, 90.0), (10.0, 100.0), (math.inf, 100.0)]
    assert histogram_quantile(0.5, buckets) == pytest.approx(0.1 + 0.9 * 40 / 80)
    assert histogram_quantile(0.99, buckets) == pytest.approx(1.0 + 9.0 * 9 / 10)
    assert histogram_quantile(0.5, [(0.1, 0.0), (math.inf, 4.0)]) == 0.1
    assert histogram_quantile(0.5, [(0.1, 0.0), (math.inf, 0.0)]) is None
    assert histogram_quantile(0.5, []) is None
