"""A real `penstock worker` process, and the other commands, as a user runs them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from prometheus_client.parser import text_string_to_metric_families

import penstock
import penstock_worker
from penstock.queue.results import Stats
from penstock.queue.sharded import AnyQueue
from tests.support.wait import wait_until

COMMAND = (sys.executable, "-c", "from penstock_worker.cli import main; main()")
IMPORT_PATH = os.pathsep.join(str(Path(package.__path__[0]).parent) for package in (penstock, penstock_worker))

# Seconds, against hangs only: the machine may be busy with other tests.
START_LIMIT = 60.0
STOP_LIMIT = 60.0
DRAIN_LIMIT = 100.0
COMMAND_LIMIT = 60.0
ANSWER_LIMIT = 30.0

LOG_TAIL = 40

BUCKET = "the-bucket"


def environment(redis_url: str, endpoint_url: str, queue: str, settings: Mapping[str, object]) -> dict[str, str]:
    """What a process of Penstock's is started with: nothing of this machine's own settings and credentials.

    ``settings`` are those of Penstock in lower case; names in upper case are taken as they are.
    """
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "PENSTOCK_")) and not name.lower().endswith("_proxy")
    }
    env |= {
        "PYTHONPATH": IMPORT_PATH,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PENSTOCK_REDIS_URL": redis_url,
        "PENSTOCK_QUEUE": queue,
        "PENSTOCK_S3_ENDPOINT_URL": endpoint_url,
        "PENSTOCK_S3_REGION": "us-east-1",
        "PENSTOCK_S3_ADDRESSING": "path",
        "PENSTOCK_SIDECAR_PORT": "0",
    }
    return env | {name if name.isupper() else f"PENSTOCK_{name.upper()}": str(text) for name, text in settings.items()}


def run_command(*args: str, env: Mapping[str, str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """One command of ``penstock``, to its end."""
    return subprocess.run([*COMMAND, *args], env=dict(env), input=stdin, capture_output=True, timeout=COMMAND_LIMIT)


def wait_until_drained(queue: AnyQueue) -> Stats:
    """Returns when nothing is ready, delayed or in flight."""
    drained = wait_until(lambda: [one for one in [queue.stats()] if not one.unfinished], DRAIN_LIMIT, "it is drained")
    return drained[0]


class WorkerProcess:
    """A worker (or an exporter), from `start` until `stop`. Leaving the context stops it, with SIGKILL if need be.

    Its log goes to a file; when a test fails inside the context, its end is printed.
    """

    def __init__(self, redis_url: str, endpoint_url: str, queue: str, **settings: object) -> None:
        self._program = cast("Sequence[str]", settings.pop("program", COMMAND))
        self._command = str(settings.pop("command", "worker"))
        self._env = environment(redis_url, endpoint_url, queue, settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.sidecar = ""
        """Host and port of the sidecar."""

    def launch(self) -> None:
        """Starts the process and does not wait for it."""
        self._directory = tempfile.TemporaryDirectory(prefix="penstock-worker-")
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._program, self._command], env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Returns when the worker says that it is ready."""
        self.launch()
        self.wait_until_started()
        wait_until(lambda: self.get("/readyz")[0] == 200, START_LIMIT, "the worker is ready")

    def wait_until_started(self) -> None:
        started = wait_until(
            lambda: self.events(f"{self._command}_started") or self.exited(), START_LIMIT, "it started"
        )
        assert isinstance(started, list), f"the worker ended at its start: {self.log_text()}"
        self.sidecar = str(started[0]["sidecar"]).removeprefix("http://")

    @property
    def _log_path(self) -> Path:
        assert self._directory is not None, "the worker was not started"
        return Path(self._directory.name) / "log"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the worker was not started"
        return self._process

    # -- what it says -------------------------------------------------------------------------------------------

    def log_text(self) -> str:
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def logs(self) -> list[dict[str, Any]]:
        """The log's whole lines. One that is not JSON, of a traceback say, is an AssertionError."""
        lines = self.log_text().splitlines(keepends=True)
        parsed = []
        for line in lines:
            if line.endswith("\n"):
                assert line.startswith("{"), f"not a log line: {self.log_text()[-4000:]}"
                parsed.append(json.loads(line))
        return parsed

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.logs() if line["event"] == name]

    def told(self) -> Self:
        """Returns when each batch it claimed is in its log and its metrics: the queue is drained a moment earlier."""

        def ended() -> bool:
            metrics = self.metrics()
            claimed = metrics.value("penstock_batch_items_count")
            return claimed > 0 and claimed == metrics.value("penstock_batch_duration_seconds_count")

        wait_until(ended, DRAIN_LIMIT, "its batches are told")
        return self

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of the sidecar's answer; status 0 when nobody listens."""
        connection = http.client.HTTPConnection(self.sidecar, timeout=ANSWER_LIMIT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ConnectionError:
            return 0, b""
        finally:
            connection.close()

    def metrics(self) -> Metrics:
        status, body = self.get("/metrics")
        assert status == 200, body
        return Metrics(body.decode())

    # -- what is done to it -------------------------------------------------------------------------------------

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL: a crash. Returns when the process is gone."""
        self.process.kill()
        self.process.wait(STOP_LIMIT)

    def freeze(self) -> None:
        """SIGSTOP, and returns when it stands."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def exited(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> int:
        """The exit status, once it ends by itself."""
        return self.process.wait(STOP_LIMIT)

    def stop(self) -> None:
        """Ends the process however it stands. Its log is gone then."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_LIMIT)
        if self._directory is not None:
            self._directory.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.print_log()
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.print_log()
        self.stop()

    def print_log(self) -> None:
        if self._directory is not None:
            print(*self.log_text().splitlines()[-LOG_TAIL:], sep="\n")


class Metrics:
    """One look at /metrics."""

    def __init__(self, page: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(page)}

    def value(self, sample: str, **labels: str) -> float:
        """The sum of a sample's series that have these labels; 0 without any."""
        return sum(
            one.value
            for family in self.families.values()
            for one in family.samples
            if one.name == sample and labels.items() <= one.labels.items()
        )

    def labels(self, sample: str) -> set[frozenset[str]]:
        """The label names of a sample's series."""
        return {
            frozenset(one.labels) for family in self.families.values() for one in family.samples if one.name == sample
        }
