"""What the demo runs on: a Redis, an S3 and one `penstock worker`, all child processes on loopback ports."""

from __future__ import annotations

import http.client
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from penstock_worker.demo.files import BUCKET
from penstock_worker.demo.process import LOOPBACK, ServerError, ServerProcess, tail
from penstock_worker.demo.scrape import get
from penstock_worker.demo.servers import (
    S3_ACCESS_KEY,
    S3_REGION,
    S3_SECRET_KEY,
    RedisServer,
    S3Server,
    find_redis_server,
)

WORKER_STOP_SECONDS = 5
"""PENSTOCK_STOP_TIMEOUT of the worker: below the patience of `ServerProcess.stop`."""

_S3_MODULES = ("moto", "flask", "flask_cors")  # moto[server]
_LEADS_ELSEWHERE = ("PENSTOCK_", "AWS_", "BOTO_", "MOTO_", "NOTIFY_SOCKET", "WATCHDOG_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def missing_parts() -> str | None:
    """Why the demo cannot run here, and what to do; None when it can."""
    if any(importlib.util.find_spec(module) is None for module in _S3_MODULES):
        return "the demo needs moto's server: pip install 'penstock[demo]'"
    try:
        find_redis_server()
    except ServerError as error:
        return f"the demo needs a Redis: {error}"
    return None


def worker_environ(settings: Mapping[str, str], inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``settings``, and of what was inherited all that cannot lead the worker to another Redis, S3 or account."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(_LEADS_ELSEWHERE) and name.lower() not in _PROXIES
    }
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
               "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
    return {**kept, **nowhere, **settings}


class Stack:
    """Starts everything in ``directory`` when entered, and stops it, the worker first, when left.

    ``check`` is called while a start waits and may raise to end it; ``say`` is told what is being started.
    Entering raises ServerError.
    """

    def __init__(self, directory: Path, check: Callable[[], None], say: Callable[[str], None]) -> None:
        self._directory = directory
        self._check = check
        self._say = say
        self._running = ExitStack()
        self.redis = RedisServer(directory / "redis", check=check)
        self.s3 = S3Server(directory, check=check)
        self._worker = ServerProcess(
            "worker", directory, _worker_command, _is_ready, environ=self._worker_environ, check=check
        )

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._say("starting Redis with an append-only file")
            starting.enter_context(self.redis)
            self._say("starting S3 (moto)")
            starting.enter_context(self.s3)
            self.s3.make_bucket(BUCKET)
            self._say("starting penstock worker")
            starting.callback(self._worker.stop)
            self._worker.start()
            self._running = starting.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._running.close()

    @property
    def sidecar(self) -> str:
        return f"http://{LOOPBACK}:{self._worker.port}"

    def settings(self) -> dict[str, str]:
        """What leads an application, a worker or the command line here."""
        return {
            "PENSTOCK_REDIS_URL": self.redis.url,
            "PENSTOCK_S3_ENDPOINT_URL": self.s3.endpoint_url,
            "PENSTOCK_S3_REGION": S3_REGION,
            "PENSTOCK_BUCKET": BUCKET,
            "AWS_ACCESS_KEY_ID": S3_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": S3_SECRET_KEY,
        }

    def exports(self) -> list[str]:
        """`settings` as lines for a shell."""
        return [f"export {name}={shlex.quote(value)}" for name, value in self.settings().items()]

    def worker_log_tail(self) -> str:
        return tail(self._worker.log())

    def require_alive(self) -> None:
        """Raises ServerError, with the log's end, when one of them has ended by itself."""
        for server in (self._worker, self.s3, self.redis):
            server.require_alive()

    def _worker_environ(self, port: int) -> dict[str, str]:
        return worker_environ(
            {
                **self.settings(),
                "PENSTOCK_SIDECAR_PORT": str(port),
                "PENSTOCK_STOP_TIMEOUT": str(WORKER_STOP_SECONDS),
            }
        )


def _worker_command(_port: int) -> list[str]:
    # -P: a redis.py in the working directory is not meant.
    return [sys.executable, "-P", "-m", "penstock_worker", "worker"]


def _is_ready(port: int, _pid: int) -> bool:
    try:
        status, _ = get(f"http://{LOOPBACK}:{port}", "/readyz")
    except (OSError, http.client.HTTPException):
        return False
    return status == http.HTTPStatus.OK
