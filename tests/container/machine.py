"""What the scenes use of the booted machine: systemctl, the journal, a Redis with a password, an S3, and writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from tests.support.fault_s3 import FaultS3
from tests.support.wait import wait_until

LIMIT = 120.0
"""Seconds, against hangs only."""
BUCKET = "bucket"
PASSWORD = "of-redis"
ACCESS_KEY = "FROM-THE-CREDSTORE"
ENV_FILE = Path("/etc/penstock/penstock.env")
CREDENTIALS = Path("/etc/credstore")
URL = f"redis://:{PASSWORD}@127.0.0.1:6379/0"


def run(*command: str, check: bool = True) -> str:
    """What a command printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def ctl(*arguments: str, check: bool = True) -> str:
    print("$ systemctl", *arguments)
    return run("systemctl", *arguments, check=check)


class Unit:
    """A unit, and what its journal says from a moment on."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port

    def show(self, name: str) -> str:
        return run("systemctl", "show", "--value", "--property", name, self.name).strip()

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    @property
    def restarts(self) -> int:
        return int(self.show("NRestarts"))

    def state(self) -> str:
        return f"{self.show('ActiveState')}/{self.show('SubState')}, result {self.show('Result')}"

    def active(self) -> bool:
        return self.show("ActiveState") == "active"

    def wait_until(self, state: str) -> None:
        wait_until(lambda: self.show("ActiveState") == state, LIMIT, f"{self.name} is {state}")

    def journal(self, since: float, pattern: str = "") -> list[str]:
        text = run("journalctl", "--quiet", "--unit", self.name, f"--since=@{since:.6f}", "--output=cat", "--no-pager")
        return [line for line in text.splitlines() if re.search(pattern, line)]

    def events(self, since: float, event: str) -> list[dict[str, Any]]:
        """Lines of the process itself."""
        return [json.loads(line) for line in self.journal(since, f'"event":\\s*"{event}"')]

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def wait_until_ready(self) -> None:
        wait_until(self.ready, LIMIT, f"{self.name} is ready")

    def wait_until_restarted(self, restarts: int) -> None:
        """By systemd, after it had done so that many times."""
        wait_until(lambda: self.restarts > restarts and self.active(), LIMIT, f"{self.name} is started again")
        self.wait_until_ready()

    def memory(self) -> dict[str, int]:
        """MiB by the kernel's names: VmRSS now, VmHWM at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return {name: int(re.findall(rf"{name}:\s+(\d+)", status)[0]) // 1024 for name in ("VmRSS", "VmHWM")}


class Site:
    """Redis, S3 and producer of the machine. Every accepted write is compared at the end."""

    def __init__(self) -> None:
        conf = Path("/etc/redis/redis.conf")
        conf.write_text(conf.read_text() + f"\nrequirepass {PASSWORD}\nappendonly yes\nmaxmemory-policy noeviction\n")
        run("systemctl", "restart", "redis-server")
        self.s3 = FaultS3()
        self.queue = Queue(open_client(URL, 5.0), "default")
        self.producer = Producer(URL, bucket=BUCKET)
        self.accepted: dict[str, bytes] = {}
        self._example = ENV_FILE.read_text()
        _secret(CREDENTIALS / "penstock.toml", f'redis_url = "{URL}"\n')
        _secret(
            CREDENTIALS / "penstock.aws", f"[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key=secret\n"
        )
        self.settings()

    def settings(self, **values: object) -> None:
        """Uncomments these in the example, and what this machine needs."""
        text = self._example
        here = {"s3_endpoint_url": self.s3.endpoint_url, "s3_region": "eu-central-1", "batch_max_wait": 0.1}
        for name, value in {**here, **values}.items():
            text, count = re.subn(rf"^#(PENSTOCK_{name.upper()})=.*$", rf"\1={value}", text, flags=re.MULTILINE)
            assert count == 1, name
        ENV_FILE.write_text(text)

    def put(self, prefix: str, count: int, size: int = 1000) -> None:
        bodies = {f"{prefix}{n}": os.urandom(size // 2) + b"." * (size // 2) for n in range(count)}
        self.producer.put_many([Write(key=key, body=body) for key, body in bodies.items()])
        self.accepted |= bodies

    def stored(self, prefix: str) -> int:
        return sum(key.startswith(prefix) for _, key in self.s3.objects)

    def wait_until_in_flight(self) -> None:
        wait_until(lambda: self.queue.stats().inflight, LIMIT, "writes are in flight")

    def wait_until_drained(self) -> None:
        def drained() -> bool:
            stats = self.queue.stats()
            return not (sum(stats.ready.values()) or stats.delayed or stats.inflight)

        wait_until(drained, LIMIT, "the queue has drained")

    def check(self) -> str:
        """Every accepted write is an object with its bytes."""
        self.wait_until_drained()
        wrong = [key for key, body in self.accepted.items() if self.s3.objects[BUCKET, key].body != body]
        assert not wrong, wrong[:5]
        dead = self.queue.stats().dead
        assert not dead, f"{dead} dead letters"
        return f"{len(self.accepted)} accepted writes are {len(self.accepted)} objects with the same bytes"


def _secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"  {what}: {time.monotonic() - began:.1f} s")
