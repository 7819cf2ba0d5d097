"""Workers of one queue, each a process with an access key of its own, so that the store can tell them apart."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import faulty_worker
from tests.support.wait import wait_until
from tests.support.worker import IMPORT_PATH, WorkerProcess

LEASE = 2.0
"""Seconds; the settings below make a worker quick to act, not quick to upload."""
SETTINGS: dict[str, object] = {
    "lease_seconds": LEASE,
    "batch_max_wait": 0.2,
    "request_timeout": 2,
    "guard_seconds": 1,  # enough where no request lands late
}
RECHECK = "0.5"
"""Seconds between two looks of the guard, in the place of 5."""
READY_LIMIT = 60.0
"""Seconds, against hangs only."""
ROOT = Path(__file__).parents[2]


class Fleet:
    """Starts workers and ends every one of them. Used from one thread."""

    def __init__(self, redis_url: str, endpoint_url: str, queue: str, **settings: object) -> None:
        self._redis_url = redis_url
        self._endpoint_url = endpoint_url
        self._queue = queue
        self._settings = SETTINGS | settings
        self._count = 0
        self.options: tuple[str, ...] = ("--recheck", RECHECK)
        """Of `faulty_worker`, for every worker launched from now on."""
        self.workers: list[WorkerProcess] = []
        """Those that were not ended yet."""

    def launch(self, *options: str, **settings: object) -> WorkerProcess:
        """A `faulty_worker` with these options; does not wait for it. Its access key is worker-N."""
        self._count += 1
        path = os.pathsep.join((IMPORT_PATH, str(ROOT)))
        access = {"AWS_ACCESS_KEY_ID": f"worker-{self._count}", "PYTHONPATH": path}
        program = {"program": faulty_worker.program(*self.options, *options)}
        every = {**self._settings, **access, **program, **settings}
        worker = WorkerProcess(self._redis_url, self._endpoint_url, self._queue, **every)
        self.workers.append(worker)
        worker.launch()
        return worker

    def start(self, *options: str, **settings: object) -> WorkerProcess:
        """The same, and returns when it is ready."""
        worker = self.launch(*options, **settings)
        self.wait_until_ready(worker)
        return worker

    def start_some(self, count: int, **settings: object) -> list[WorkerProcess]:
        """Several at once, which takes little longer than one."""
        workers = [self.launch(**settings) for _ in range(count)]
        self.wait_until_ready(*workers)
        return workers

    def wait_until_ready(self, *workers: WorkerProcess) -> None:
        for worker in workers:
            worker.wait_until_started()
        for worker in workers:
            wait_until(lambda one=worker: one.get("/readyz")[0] == 200, READY_LIMIT, "the worker is ready")  # type: ignore[misc]

    def kill(self, worker: WorkerProcess) -> None:
        """SIGKILL, and it is forgotten."""
        worker.kill()
        self.remove(worker)

    def remove(self, worker: WorkerProcess) -> None:
        """Ends a worker however it stands."""
        self.workers.remove(worker)
        worker.stop()

    def stop(self) -> None:
        for worker in list(self.workers):
            self.remove(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for worker in self.workers:
                worker.print_log()
        self.stop()
