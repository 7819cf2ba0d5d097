"""A real Prometheus and a real Alertmanager as child processes, on loopback ports that the system chose.

Only tests/ops uses them: they need Debian's programs (see `ops_tools`). Each is a context manager; leaving it stops the
process whatever happened inside.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from penstock_worker.demo.process import LOOPBACK, ServerProcess
from tests.support.ops_tools import ops_tool

ANSWER_LIMIT = 10.0
"""Seconds for one HTTP answer, against hangs only."""


def get_json(url: str) -> Any:
    """What ``url`` answers, parsed. Raises urllib.error.URLError (HTTPError for a status of 400 or more)."""
    with urllib.request.urlopen(url, timeout=ANSWER_LIMIT) as answer:  # noqa: S310 - a loopback address of our own
        return json.load(answer)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_LIMIT) as answer:  # noqa: S310 - as above
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


class _Server:
    """What both have in common: a process, an address and a health page."""

    def __init__(self, name: str, directory: Path) -> None:
        self._directory = directory
        self._process = ServerProcess(name, directory, self._command, lambda port, pid: self.ready())

    def _command(self, port: int) -> list[str]:
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self._process.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def ready(self) -> bool:
        return _answers(f"{self.url}/-/ready")

    def start(self) -> None:
        """Returns when it is ready."""
        self._process.start()

    def stop(self) -> None:
        self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class PrometheusProcess(_Server):
    """A Prometheus that scrapes at once and then every ``interval``, with its data in ``directory``.

    Args:
        jobs: the targets, each as host and port, by the name of their job.
        labels: what every series gets on top, such as ``queue``.
        rules: files of rules, evaluated every ``interval`` too.
        alertmanager: host and port of the Alertmanager that gets the alerts.
    """

    def __init__(
        self,
        directory: Path,
        jobs: Mapping[str, Sequence[str]],
        *,
        labels: Mapping[str, str] | None = None,
        rules: Sequence[Path] = (),
        alertmanager: str | None = None,
        interval: str = "1s",
    ) -> None:
        super().__init__("prometheus", directory)
        self._settings: dict[str, Any] = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(targets), "labels": dict(labels or {})}]}
                for job, targets in jobs.items()
            ],
        }
        if alertmanager is not None:
            self._settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}

    def _command(self, port: int) -> list[str]:
        config = self._directory / "prometheus.yml"
        config.write_text(json.dumps(self._settings), encoding="utf-8")  # JSON is YAML too
        return [
            *(ops_tool("prometheus"), f"--config.file={config}", f"--web.listen-address={LOOPBACK}:{port}"),
            *(f"--storage.tsdb.path={self._directory / 'data'}", "--log.level=warn"),
        ]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of ``expression`` now: ``{"metric": labels, "value": [time, text]}`` each.

        Raises AssertionError with Prometheus's own words when it refuses the expression.
        """
        return list(self._api("query", query=expression)["result"])

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The same between two times of ``time.time``: ``{"metric": labels, "values": [[time, text], …]}`` each."""
        return list(self._api("query_range", query=expression, start=start, end=end, step=step)["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts that are pending or fire: ``{"labels", "annotations", "state", …}`` each."""
        return list(self._api("alerts")["alerts"])

    def healthy_targets(self) -> int:
        """How many targets answered their last scrape."""
        return sum(one["health"] == "up" for one in self._api("targets")["activeTargets"])

    def _api(self, path: str, **arguments: object) -> Any:
        try:
            answer = get_json(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {arguments}: {error.read().decode()}") from error
        return answer["data"]


class AlertmanagerProcess(_Server):
    """An Alertmanager with ``settings`` as its file, and its data in ``directory``. It looks for no others."""

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        super().__init__("alertmanager", directory)
        self._settings = settings

    def _command(self, port: int) -> list[str]:
        config = self._directory / "alertmanager.yml"
        config.write_text(json.dumps(self._settings), encoding="utf-8")
        program = Path(ops_tool("alertmanager"))
        # An unpacked copy finds its templates from the folder that it was unpacked to: see tests/ops/packages.sh.
        return [
            *("env", f"--chdir={program.parents[2]}", str(program), f"--config.file={config}"),
            f"--web.listen-address={LOOPBACK}:{port}",
            *(f"--storage.path={self._directory / 'data'}", "--cluster.listen-address=", "--log.level=warn"),
        ]

    def alerts(self) -> list[dict[str, Any]]:
        """Alerts that it holds as active: ``{"labels", "annotations", "status", …}`` each."""
        return list(get_json(f"{self.url}/api/v2/alerts"))
