"""A process with a spool, as a program: it writes versions of its own keys, or dies at a chosen step of its work.

``python -m tests.support.spool_victim URL QUEUE DIR PREFIX SECONDS`` puts until the time is up, or it is killed, and
prints a line for each write that was accepted: key, version, 1 when it was spooled.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from penstock import PenstockError, Producer
from penstock.spool.files import SpoolFiles
from penstock.sync_channel import Channel
from tests.support.producers import BUCKET

KEYS = 3
PACE = 0.002


def die_at(step: int) -> Callable[[], int]:
    """This process kills itself at that step: before, in and after each transaction on the spool, and before and after
    each call to Redis. Returns how many steps there were so far."""
    count = 0

    def tick() -> None:
        nonlocal count
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    locked, send = SpoolFiles.locked, Channel.send

    @contextmanager
    def in_steps(self: SpoolFiles, limit: float) -> Iterator[sqlite3.Connection]:
        tick()
        with locked(self, limit) as connection:
            yield connection
            tick()
        tick()

    def send_in_steps(self: Channel, *args: object) -> object:
        tick()
        answer = send(self, *args)  # type: ignore[arg-type]
        tick()
        return answer

    patch = pytest.MonkeyPatch()
    patch.setattr(SpoolFiles, "locked", in_steps)
    patch.setattr(Channel, "send", send_in_steps)
    return lambda: count


def in_child(work: Callable[[], None]) -> bool:
    """Runs it in a fork's child. False when that was killed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(ended) == 0
    return True


def main(url: str, queue: str, directory: str, prefix: str, seconds: str) -> None:
    deadline = time.monotonic() + float(seconds)
    with Producer(url, queue=queue, bucket=BUCKET, timeout=0.3, spool=directory) as producer:

        def write(thread: int) -> None:
            version = 0
            while time.monotonic() < deadline:
                version += 1
                key = f"{prefix}/{thread}/{version % KEYS}"
                try:
                    receipt = producer.put(key, b"%d" % version)
                except PenstockError as error:
                    print("refused", key, error, file=sys.stderr, flush=True)
                    continue
                sys.stdout.write(f"{key} {version} {int(receipt.spooled)}\n")
                sys.stdout.flush()
                time.sleep(PACE)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
