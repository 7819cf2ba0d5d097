"""The units on a booted machine: run.sh runs this in the container, as root. Each scene fails or says what was seen."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.container.machine import ACCESS_KEY, BUCKET, CREDENTIALS, LIMIT, Site, Unit, ctl, run, timed
from tests.container.secret_scenes import checks, encrypted_secrets, sandbox, without_secrets, wrong_setting
from tests.support.fault_s3 import held, late_answer
from tests.support.wait import wait_until

WORKERS = (Unit("penstock-worker@1", 9191), Unit("penstock-worker@2", 9192))
EXPORTER = Unit("penstock-exporter", 9190)
ALL = (*WORKERS, EXPORTER)
FIRST = WORKERS[0]
AWAY_SECONDS = 45.0
"""Longer than the watchdog's limit."""


def start(site: Site) -> None:
    """Installed as docs/systemd.md says, all of it starts, and is active only when it is ready."""
    ctl("daemon-reload")
    print(ctl("enable", "penstock-worker@1", "penstock-worker@2", "penstock-exporter", "penstock.target"), end="")
    with timed("start returned, so all were ready"):
        ctl("start", "penstock.target", *(unit.name for unit in ALL))
    for unit in ALL:
        assert unit.active(), unit.name
        unit.wait_until_ready()
    print(ctl("status", "--no-pager", "--lines=2", FIRST.name))


def works(site: Site) -> None:
    """Inside its sandbox a worker uploads with both engines, small and large, and S3 sees the credstore's key."""
    site.put("small/", 2000)
    site.put("large/", 2, size=8 * 1024 * 1024)
    site.put("/by-boto3//", 50)  # keys that only boto3 can send
    print("  " + site.check())
    by = {version.by for versions in site.s3.history.values() for version in versions}
    assert by == {ACCESS_KEY}, by
    print(f"  S3 saw the access key {', '.join(by)}; Redis's password came from {CREDENTIALS}/penstock.toml")


def memory(site: Site) -> None:
    """As many bodies at once as the default PENSTOCK_MEMORY_BUDGET allows, one worker: below MemoryMax=."""
    ctl("stop", WORKERS[1].name)
    with site.s3.broken(late_answer(2.0)):
        for number in range(40):
            site.put(f"large/{number}/", 1, size=8 * 1024 * 1024)
        site.wait_until_drained()
    for unit in (FIRST, EXPORTER):
        print(f"  {unit.name}: {unit.memory()} MiB; MemoryMax={int(unit.show('MemoryMax')) // 2**20} MiB")
        assert unit.memory()["VmHWM"] < int(unit.show("MemoryMax")) // 2**20
    ctl("start", WORKERS[1].name)
    print("  " + site.check())


def drains(site: Site) -> None:
    """SIGTERM: what is under way is finished within the time limit, and nothing new is begun."""
    ctl("stop", WORKERS[1].name)
    ctl("restart", FIRST.name)  # it has learnt nothing of a slow S3
    with site.s3.broken(late_answer(2.0)):
        site.put("drain/", 60)
        site.wait_until_in_flight()
        since, before = time.time(), site.queue.stats().inflight
        with timed(f"stop, with {before} writes in flight"):
            ctl("stop", FIRST.name)
        stats, stored = site.queue.stats(), site.stored("drain/")
    print(f"  {stored} stored, {sum(stats.ready.values())} waiting, {stats.inflight} in flight; {FIRST.state()}")
    print("  " + FIRST.journal(since, "worker_stopped")[0])
    assert FIRST.events(since, "worker_stopped")[0]["given_back"] == 0
    assert 0 < before <= stored, "some were in flight, and they are stored"
    assert (sum(stats.ready.values()), stats.inflight) == (60 - stored, 0), "the others wait"
    assert FIRST.state() == "inactive/dead, result success"
    ctl("start", *(unit.name for unit in WORKERS))
    print("  " + site.check())


def drains_long(site: Site) -> None:
    """A drain that may take longer than TimeoutStopSec= is not cut off: the worker tells systemd of its time limit."""
    ctl("stop", WORKERS[1].name)
    override = Path(f"/run/systemd/system/{FIRST.name}.service.d/stop.conf")
    override.parent.mkdir(parents=True)
    override.write_text("[Service]\nTimeoutStopSec=5\n")
    site.settings(stop_timeout=12, request_timeout=120)
    ctl("daemon-reload")
    ctl("restart", FIRST.name)
    gate = site.s3.gate()
    hang = held(gate)
    site.s3.start(hang)
    site.put("hang/", 10)
    wait_until(lambda: site.s3.hits("held"), LIMIT, "requests hang")
    since = time.time()
    with timed("stop with TimeoutStopSec=5, PENSTOCK_STOP_TIMEOUT=12 and an S3 that hangs"):
        ctl("stop", FIRST.name)
    print("  " + FIRST.journal(since, "worker_stopped")[0])
    assert FIRST.events(since, "worker_stopped")[0]["seconds"] >= 12
    assert FIRST.state() == "inactive/dead, result success"
    site.s3.end()
    gate.open()
    override.unlink()
    ctl("daemon-reload")
    ctl("start", *(unit.name for unit in WORKERS))
    print("  " + site.check())
    site.settings()
    ctl("restart", *(unit.name for unit in WORKERS))


def killed(site: Site) -> None:
    """kill -9, with writes in flight: started again after RestartSec=, and nothing is lost."""
    with site.s3.broken(late_answer(3.0)):
        site.put("killed/", 60)
        site.wait_until_in_flight()
        for unit in ALL:
            pid, restarts = unit.pid, unit.restarts
            since = time.time()
            os.kill(pid, signal.SIGKILL)
            with timed(f"kill -9 {pid} of {unit.name} to ready"):
                unit.wait_until_restarted(restarts)
            print("  " + "\n  ".join(unit.journal(since, "exited|Failed|Scheduled|Started")))
    print("  " + site.check())


def frozen(site: Site) -> None:
    """A process that stands still: the watchdog kills it, and another one is started."""
    for unit in (FIRST, EXPORTER):
        pid, restarts = unit.pid, unit.restarts
        since = time.time()
        os.kill(pid, signal.SIGSTOP)
        with timed(f"kill -STOP {pid} of {unit.name} to ready"):
            unit.wait_until_restarted(restarts)
        print("  " + "\n  ".join(unit.journal(since, "Watchdog|Killing|exited|Failed|Fatal|Scheduled")))
        assert unit.journal(since, "Watchdog timeout")
        assert unit.journal(since, "Fatal Python error: Aborted"), "and its stacks are in the journal"


def hung_duty(site: Site) -> None:
    """One duty of a process hangs: its status says which, the watchdog kills it, its stacks tell where."""
    program = Path("/etc/penstock/hang.py")
    program.write_text(
        "import time\nfrom penstock_worker import cli, sweeper\n"
        "def hang(self):\n    time.sleep(3600)\nsweeper.Sweeper._sweep = hang\ncli.main()\n"
    )
    override = Path(f"/run/systemd/system/{FIRST.name}.service.d/hang.conf")
    override.parent.mkdir(parents=True, exist_ok=True)
    override.write_text(f"[Service]\nExecStart=\nExecStart=/opt/penstock/bin/python {program} worker\n")
    ctl("daemon-reload")
    since = time.time()
    ctl("restart", FIRST.name)
    override.unlink()
    ctl("daemon-reload")  # the next start is a whole one
    wait_until(lambda: "silent" in FIRST.show("StatusText"), LIMIT, "it says what hangs")
    print(f"  Status: {FIRST.show('StatusText')}")
    with timed("until ready"):
        FIRST.wait_until_restarted(0)
    print("  " + "\n  ".join(FIRST.journal(since, r"Watchdog|Fatal|hang\.py|Failed|Scheduled")))
    assert FIRST.journal(since, "Watchdog timeout")
    assert FIRST.journal(since, r"hang\.py.* in hang")
    site.put("hung/", 20)
    print("  " + site.check())


def redis_away(site: Site) -> None:
    """A Redis that is away, or hangs, for longer than the watchdog's limit: nobody is killed, and it goes on."""
    redis = Unit("redis-server", 6379)
    pids = [unit.pid for unit in ALL]

    def hang() -> Callable[[], None]:
        pid = redis.pid
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def stop() -> Callable[[], None]:
        ctl("stop", redis.name)
        return lambda: print(ctl("start", redis.name), end="")

    for fault in (stop, hang):
        end = fault()
        time.sleep(AWAY_SECONDS)
        print(f"  {FIRST.name} after {AWAY_SECONDS:.0f} s: {FIRST.state()}; {FIRST.show('StatusText')}")
        end()
        for unit in ALL:
            unit.wait_until_ready()
        site.put(f"after-{fault.__name__}/", 50)
    assert [unit.pid for unit in ALL] == pids
    print("  " + site.check() + "; the processes are the same")


def backoff(site: Site) -> None:
    """With restart-backoff.conf each pause is longer than the last; needs systemd 254."""
    if int(run("systemctl", "--version").split()[1]) < 254:
        print("  not tried: this systemd is older")
        return
    override = Path("/run/systemd/system/penstock-worker@.service.d/restart-backoff.conf")
    override.parent.mkdir(parents=True)
    override.write_text(Path("systemd/restart-backoff.conf").read_text())
    ctl("daemon-reload")
    print("  " + run("systemd-analyze", "verify", "--recursive-errors=yes", f"{FIRST.name}.service"))
    ctl("restart", FIRST.name)
    pauses = []
    for _ in range(4):
        since, restarts = time.monotonic(), FIRST.restarts
        os.kill(FIRST.pid, signal.SIGKILL)
        FIRST.wait_until_restarted(restarts)
        pauses.append(time.monotonic() - since)
    print("  kill -9 to ready: " + ", ".join(f"{pause:.1f} s" for pause in pauses))
    assert pauses == sorted(pauses)
    override.unlink()
    ctl("daemon-reload")
    ctl("restart", FIRST.name)


def upgrade(site: Site) -> None:
    """One worker after the other goes over to another folder while a producer writes: no write is lost."""
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.wait(0.02):
            number += 1
            site.put(f"upgrade/{number}/", 5)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run("python3", "-m", "venv", "/opt/penstock-next")
        run("/opt/penstock-next/bin/pip", "install", "--no-index", "--find-links=/wheels", "penstock[worker]")
        run("ln", "-sfn", "penstock-next", "/opt/penstock")
        for unit in WORKERS:
            with timed(f"restart of {unit.name}"):
                ctl("restart", unit.name)
            unit.wait_until_ready()
            assert b"/opt/penstock-next/bin/python" in Path(f"/proc/{unit.pid}/cmdline").read_bytes()
    finally:
        ended.set()
        writer.join()
    print("  " + site.check())


def all_together(site: Site) -> None:
    """The target restarts and stops them all."""
    pids = {unit.pid for unit in ALL}
    ctl("restart", "penstock.target")
    for unit in ALL:
        unit.wait_until("active")
        unit.wait_until_ready()
    assert not pids & {unit.pid for unit in ALL}
    ctl("stop", "penstock.target")
    for unit in ALL:
        unit.wait_until("inactive")
        print(f"  {unit.name}: {unit.state()}")


SCENES = (
    checks, start, works, memory, sandbox, drains, drains_long, killed, frozen, hung_duty, redis_away,
    wrong_setting, backoff, without_secrets, encrypted_secrets, upgrade, all_together,
)  # fmt: skip


def main() -> int:
    print(run("systemctl", "--version").splitlines()[0])
    site = Site()
    for scene in SCENES:
        print(f"\n== {scene.__name__}: {scene.__doc__}")
        try:
            with timed("this scene"):
                scene(site)
        except Exception:
            print(run("journalctl", "--quiet", "--no-pager", "--lines=40"))
            raise
    print(f"\nall {len(SCENES)} scenes hold; {len(site.accepted)} writes to bucket {BUCKET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
