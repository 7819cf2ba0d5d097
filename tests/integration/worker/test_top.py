"""`penstock top` as an operator runs it: on a terminal, into a pipe, as JSON, and while Redis is away."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock import Producer, Write
from penstock.queue.client import Queue
from penstock_worker.demo.servers import RedisServer
from tests.support.commands import printed, refused
from tests.support.memory_s3 import STALL, MemoryS3, Request, Trouble, error
from tests.support.stub_s3 import closed_port
from tests.support.wait import wait_until
from tests.support.worker import BUCKET, COMMAND, WorkerProcess, environment, run_command

pytestmark = pytest.mark.integration

LIMIT = 60.0
"""Seconds, against hangs only."""

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
"""What a terminal obeys: another screen, and the old one with all that was on it."""


class Terminal:
    """A command on a terminal of 80 by 24, as a person sees it."""

    def __init__(self, *args: str, env: Mapping[str, str]) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._fd = ours
        self._seen = bytearray()
        self.process = subprocess.Popen(
            [*COMMAND, *args], env={**env, "TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # Linux's way to say that the other side is closed
                return
            self._seen += data

    @property
    def text(self) -> str:
        return self._seen.decode(errors="replace")

    @property
    def last_frame(self) -> str:
        """Since the cursor was last put into the corner, without what a terminal obeys."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text.rpartition("\x1b[H")[2])

    def wait_for(self, words: str) -> str:
        """The first frame that says so."""
        return wait_until(lambda: self.last_frame * (words in self.last_frame), LIMIT, f"{words!r} is shown")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(LIMIT)
        self._thread.join(LIMIT)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        self._thread.join(LIMIT)
        os.close(self._fd)


@contextmanager
def terminal(*args: str, env: Mapping[str, str]) -> Iterator[Terminal]:
    shown = Terminal(*args, env=env)
    try:
        yield shown
    except BaseException:
        print(shown.last_frame)
        raise
    finally:
        shown.close()


@pytest.fixture
def busy(
    env: Mapping[str, str], producer: Producer, queue: Queue, sink: MemoryS3, start_worker: Callable[..., WorkerProcess]
) -> WorkerProcess:
    """A queue with one of everything: stored, stalled, dead, held up, and S3's errors."""

    def judge(request: Request) -> Trouble | None:
        return {"bad": error(400, "InvalidTag"), "slow": STALL}.get(request.key)

    sink.judge = judge
    assert run_command("queue", "pause", "--bucket", "held-bucket", env=env).returncode == 0
    writes = [Write(key=f"{n}", body=b"body", priority="high") for n in range(20)]
    writes += [Write(key="bad", body=b"body"), Write(key="held", body=b"body", bucket="held-bucket", tenant="acme")]
    producer.put_many(writes)
    worker = start_worker(request_timeout=LIMIT)
    wait_until(lambda: queue.stats().dead and queue.stats().set_aside, LIMIT, "it is dead, and set aside")
    producer.put("slow", b"body", priority="critical")  # alone in its batch: those before are settled
    return worker


def test_a_frame_is_printed_once_into_a_pipe_or_when_asked(env: Mapping[str, str], busy: WorkerProcess) -> None:
    for options in ((), ("--once",)):
        done = run_command("top", *options, env=env)
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        assert "\x1b" not in text
        assert max(len(line) for line in text.splitlines()) <= 80
        for words in ("bucket held-bucket", "pause", f"{BUCKET}/bad", "InvalidTag", "acme", "set aside", "1/1 alive"):
            assert words in text, words


def test_the_json_is_the_documented_one_and_agrees_with_the_other_commands(
    env: Mapping[str, str], busy: WorkerProcess
) -> None:
    def told() -> object:
        shown = printed("top", env=env)
        return shown if shown["s3_errors"] and shown["workers"][0]["in_flight"] else None

    shown = wait_until(told, LIMIT, "the worker has told of its batch")
    assert isinstance(shown, dict)
    stats = printed("queue", "stats", env=env)
    assert shown.keys() > stats.keys()
    assert {name: shown[name] for name in ("writes", "blocks", "limits", "set_aside")} == {
        name: stats[name] for name in ("writes", "blocks", "limits", "set_aside")
    }
    assert shown["dead_letters"] == printed("dead", "list", env=env)
    (one,) = shown["workers"]
    assert (one["pid"], one["alive"], one["state"], one["slots"]) == (busy.process.pid, True, "running", 128)
    assert (one["in_flight"], one["claims"], one["stored"]) == (1, 1, 20)
    assert 0 < one["lease_left_seconds"] <= 15
    (flow,) = shown["flows"]
    assert flow.pop("oldest_age_seconds") > 0
    assert flow == {"bucket": "held-bucket", "tenant": "acme", "priority": "normal", "ready": 1, "set_aside": True}
    assert shown["s3_errors"] == [{"error_class": "permanent", "code": "InvalidTag", "count": 1}]
    assert shown["accepted_per_second"] == {"critical": 0, "high": 0, "normal": 0, "low": 0}
    assert shown["latency_seconds"]["high"]["writes"] == 20


def test_with_an_interval_json_is_a_line_a_look_and_says_when_redis_is_away(
    tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        env = environment(server.url, "http://127.0.0.1:1", queue_name, {})
        process = subprocess.Popen(
            [*COMMAND, "top", "--json", "--interval", "0.1"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            first, second = (json.loads(process.stdout.readline()) for _ in range(2))
            assert (first["accepted_per_second"]["high"], second["accepted_per_second"]["high"]) == (None, 0)
            server.kill()
            away = next(line for line in map(json.loads, process.stdout) if "error" in line)
            assert away.keys() == {"at", "queue", "since", "error"}
            server.start()
            assert next(line for line in map(json.loads, process.stdout) if "error" not in line)["workers"] == []
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=LIMIT)[1].split() == [b"penstock:", b"stopped"]
            assert process.returncode == 130
        finally:
            process.kill()
            process.communicate(timeout=LIMIT)


def test_on_a_terminal_it_is_live_and_gives_the_screen_back(
    env: Mapping[str, str], producer: Producer, busy: WorkerProcess
) -> None:
    with terminal("top", "--interval", "0.2", env=env) as shown:
        frame = shown.wait_for("1/1 alive")
        assert len(frame.splitlines()) <= 24
        assert ENTER in shown.text
        assert LEAVE not in shown.text
        producer.put("later", b"body", bucket="held-bucket", tenant="comes-later")
        shown.wait_for("comes-later")
        assert shown.end(signal.SIGINT) == 130
        _, left, after = shown.text.partition(LEAVE)
        assert left
        assert "\x1b[?25h" in shown.text, "the cursor is back"
        assert "penstock: stopped" in after
        assert "Traceback" not in shown.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_screen_back_too(number: signal.Signals, env: Mapping[str, str]) -> None:
    with terminal("top", env=env) as shown:
        shown.wait_for("NO WORKER IS ALIVE")
        assert shown.end(number) == 128 + number
        assert LEAVE in shown.text
        assert "Traceback" not in shown.text


def test_while_redis_is_away_the_last_frame_stays_and_it_goes_on_by_itself(
    tmp_path: Path, redis_executable: str | None, queue_name: str
) -> None:
    with RedisServer(tmp_path, executable=redis_executable) as server:
        env = environment(server.url, "http://127.0.0.1:1", queue_name, {})
        with Producer(server.url, queue=queue_name, bucket=BUCKET, timeout=LIMIT) as producer:
            producer.put("key", b"body", tenant="waits-here")
        with terminal("top", "--interval", "0.2", env=env) as shown:
            shown.wait_for("waits-here")
            server.kill()
            frame = shown.wait_for("REDIS DOES NOT ANSWER since ")
            assert "below is the last look" in frame
            assert "waits-here" in frame
            assert len(frame.splitlines()) <= 24
            server.start()
            wait_until(lambda: "REDIS DOES NOT" not in shown.wait_for("waits-here"), LIMIT, "it goes on")
            server.freeze()
            shown.wait_for("Timeout")
            assert shown.end(signal.SIGINT) == 130, "a Redis that hangs holds nobody up"
            server.thaw()


def test_without_redis_one_frame_is_one_line_of_error_and_a_terminal_waits_for_it(queue_name: str) -> None:
    env = environment(f"redis://:pass-word@127.0.0.1:{closed_port()}/0", "http://127.0.0.1:1", queue_name, {})
    for options in (("--once",), ("--json",), ()):
        said = refused("top", *options, env=env, status=1)
        assert "is not available" in said
        assert "pass-word" not in said
    with terminal("top", env=env) as shown:
        assert "pass-word" not in shown.wait_for("it is asked again and again")


def test_bad_flags_are_one_line_and_exit_status_2(env: Mapping[str, str]) -> None:
    for options in (("--interval", "0"), ("--interval", "much"), ("--interval", "-1"), ("--twice",), ("now",)):
        said = refused("top", *options, env=env, status=2)
        assert options[0] in said or "now" in said
    assert "PENSTOCK_QUEUE" in refused("top", env={**env, "PENSTOCK_QUEUE": "no/slash"}, status=2)
