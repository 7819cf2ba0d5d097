"""A prefork server with a spool: what its children keep of it."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from penstock import Producer
from penstock.spool.look import spooled_writes
from tests.support.producers import BUCKET, HANG
from tests.support.spool_victim import in_child
from tests.support.wait import wait_until

pytestmark = pytest.mark.faults

NOBODY = "redis://127.0.0.1:1/0"
"""Where no Redis answers."""


def make(directory: Path) -> Producer:
    return Producer(NOBODY, bucket=BUCKET, timeout=0.3, spool=str(directory))


@pytest.mark.parametrize("uses_it", [True, False], ids=["used", "never used"])
def test_a_server_that_is_killed_in_a_transaction_leaves_the_lock_to_all_though_its_child_lives(
    uses_it: bool, tmp_path: Path
) -> None:
    read, write = os.pipe()

    def child(producer: Producer) -> None:
        signal.alarm(int(HANG))
        if uses_it:
            producer.put("child", b"body")
        os.write(write, b"%d" % os.getpid())
        while True:
            signal.pause()

    def server() -> None:
        signal.alarm(int(HANG))
        producer = make(tmp_path)
        producer.put("server", b"body")
        if os.fork() == 0:
            try:
                child(producer)
            finally:
                os._exit(1)
        wait_until(lambda: select.select([read], [], [], 0)[0], HANG, "the child is ready")
        spool = producer._shards._spool
        assert spool is not None
        with spool._files.locked(HANG):
            os.kill(os.getpid(), signal.SIGKILL)

    assert not in_child(server)
    os.close(write)
    pid = int(os.read(read, 100))
    try:
        with make(tmp_path) as producer:
            assert producer.put("other", b"body").spooled
    finally:
        os.kill(pid, signal.SIGKILL)
        assert os.read(read, 1) == b"", "it is dead, or its end were open"
        os.close(read)
    found = [write.key for write in spooled_writes(str(tmp_path), "default")]
    assert found == ["server", *["child"] * uses_it, "other"]
