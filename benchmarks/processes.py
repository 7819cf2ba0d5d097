"""A worker, and a contender, each as a process of its own, and what `/proc` says of any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from penstock_worker.demo.process import tail

ROOT = Path(__file__).parent.parent
PEERS_PYTHON = ROOT / ".bench/bin/python"
WORKER = (sys.executable, "-c", "from penstock_worker.cli import main; main()", "worker")
START_SECONDS = 60.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


class ProcessError(RuntimeError):
    """A process of the benchmark did not start, or ended, or refused; the message has its log's end."""


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, without settings and credentials of the machine's, and with ``settings``."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "PENSTOCK_")) and not name.lower().endswith("_proxy")
    }
    paths = [str(ROOT / "producer"), str(ROOT / "worker"), str(ROOT)]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(paths),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        **settings,
    }


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Raises ProcessError when ``condition`` is not true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ProcessError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(POLL_SECONDS)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads so far (not of its children)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int, which: str = "VmRSS") -> int:
    """Bytes of a process: resident now (``VmRSS``), or at most so far (``VmHWM``)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which + ":"):
            return int(line.split()[1]) * 1024
    raise ProcessError(f"/proc has no {which} of process {pid}")


def forget_peak(pid: int) -> None:
    """Sets ``VmHWM`` back to what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Worker:
    """One `penstock worker` process with default settings, but for those given. Entering starts it and does not wait;
    leaving stops it. ``settings`` are named as in docs/settings.md, in lower case and without the prefix."""

    def __init__(self, redis_url: str, endpoint_url: str, queue: str, **settings: object) -> None:
        own = {
            "redis_url": redis_url,
            "queue": queue,
            "s3_endpoint_url": endpoint_url,
            "s3_region": "us-east-1",
            "s3_addressing": "path",
            "sidecar_port": 0,
            **settings,
        }
        self._environment = clean_environment({f"PENSTOCK_{name.upper()}": str(value) for name, value in own.items()})
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ProcessError("the worker was not started")
        return self._process.pid

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def memory(self, which: str = "VmRSS") -> int:
        return memory(self.pid, which)

    def log_text(self) -> str:
        if self._log is None:
            return ""
        return Path(self._log.name).read_text(errors="replace")

    def require_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise ProcessError(f"the worker ended: {tail(self.log_text())}")

    def wait_until_started(self) -> None:
        """Returns when its log says that it has started."""

        def started() -> bool:
            self.require_alive()
            return '"worker_started"' in self.log_text()

        wait_until(started, START_SECONDS, "the worker starts")

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile(prefix="penstock-worker-", suffix=".log")
        self._process = subprocess.Popen(
            WORKER, env=self._environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            _end(self._process)
        if self._log is not None:
            self._log.close()


class Contender:
    """One of `benchmarks.peers` as a process of its own: takes a call as a line of JSON, and answers with one.

    ``own`` says that it runs on this interpreter, and not on that of ``.bench``.
    """

    def __init__(self, module: str, redis_url: str, endpoint_url: str, *, own: bool = False) -> None:
        self.name = module
        self._python = sys.executable if own else str(PEERS_PYTHON)
        self._environment = clean_environment({"BENCH_REDIS_URL": redis_url, "BENCH_ENDPOINT_URL": endpoint_url})
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def call(self, verb: str, **arguments: object) -> Any:
        """What the contender answers; raises ProcessError with the end of its log when it does not."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None or self._log is None:
            raise ProcessError(f"{self.name} was not started")
        process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise ProcessError(f"{self.name} ended in {verb}: {tail(Path(self._log.name).read_text(errors='replace'))}")
        return json.loads(answer)

    def __enter__(self) -> Self:
        if not Path(self._python).exists():
            raise ProcessError("the peers are not installed: `make bench` does that")
        self._log = tempfile.NamedTemporaryFile(prefix="penstock-peer-", suffix=".log")
        self._process = subprocess.Popen(
            [self._python, "-m", f"benchmarks.peers.{self.name}"],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()  # its sign to end, which gives it time to stop what it started
            _end(self._process, politely=kind is None)
            if self._process.stdout is not None:
                self._process.stdout.close()
        if self._log is not None:
            self._log.close()


def _end(process: subprocess.Popen[Any], *, politely: bool = False) -> None:
    """Waits for its own end with ``politely``, then SIGTERM, then SIGKILL."""
    for signal_it, seconds in ((None if politely else process.terminate, STOP_SECONDS), (process.kill, STOP_SECONDS)):
        if signal_it is not None:
            signal_it()
        try:
            process.wait(timeout=seconds)
            return
        except subprocess.TimeoutExpired:
            continue
