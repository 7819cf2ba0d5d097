"""Settings that reach running workers through the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.support.commands import printed, refused
from tests.support.wait import wait_until
from tests.support.worker import WorkerProcess, run_command

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""


def speaks(worker: WorkerProcess, event: str, *, after: int) -> bool:
    """Whether the worker logs this event of a look at its health, in what follows its first ``after`` lines."""
    assert worker.get("/healthz")[0] == 200
    return any(line["event"] == event for line in worker.logs()[after:])


def test_workers_take_the_log_level_over_without_a_restart_and_go_back_to_their_own(
    env: Mapping[str, str], start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker(log_level="info")
    assert not speaks(worker, "sidecar_request", after=0)

    def changed(level: str, asked_by: str) -> int:
        """Waits until the worker says so; returns the number of its lines by then."""

        def said() -> int:
            lines = worker.logs()
            last = [line for line in lines if line["event"] == "log_level_changed"][-1:]
            return len(lines) * any((line["log_level"], line["asked_by"]) == (level, asked_by) for line in last)

        return wait_until(said, LIMIT, f"the level is {level}")

    assert printed("queue", "configure", "--log-level", "debug", env=env)["log_level"] == "debug"
    at = changed("debug", "queue")
    wait_until(lambda: speaks(worker, "sidecar_request", after=at), LIMIT, "it speaks of requests")
    assert printed("queue", "stats", env=env)["log_level"] == "debug"
    assert b"workers log at level debug" in run_command("queue", "stats", env=env).stdout
    printed("queue", "configure", "--log-level", "error", env=env)
    at = changed("error", "queue")
    assert not speaks(worker, "sidecar_request", after=at)
    assert printed("queue", "configure", "--log-level", "default", env=env)["log_level"] is None
    changed("info", "setting")
    assert b"log level" not in run_command("queue", "stats", env=env).stdout
    entries = printed("audit", env=env)
    assert [entry["what"] for entry in reversed(entries)] == [
        {"log_level": level} for level in ("debug", "error", "default")
    ]


def test_a_log_level_that_there_is_not_is_refused_and_changes_nothing(env: Mapping[str, str]) -> None:
    said = refused("queue", "configure", "--log-level", "loud", "--items", "5", env=env, status=2)
    assert "--log-level" in said
    assert "debug" in said
    shown = printed("queue", "configure", env=env)
    assert (shown["log_level"], shown["limits"]["items"]) == (None, 1_000_000)
