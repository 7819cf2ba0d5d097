"""A host: several processes with several producers each, which share one spool; and the load of each, as a program.

``python -m tests.support.spool_host URL QUEUE DIR FIRST HOT`` writes until its standard input ends, and prints its
ledger's journal.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.ledger import Ledger
from tests.support.producers import KINDS
from tests.support.wait import wait_until
from tests.support.writers import Writers

TIMEOUT = 0.5
"""Seconds: the time limit of a call, after which it is spooled."""
PACE = 0.02
PRODUCERS = 2
"""Of each process, each with a thread; one of them an AsyncProducer."""
ALL_HOSTS = "hot-everywhere"
"""The prefix of keys that all hosts write to."""
LIMIT = 60.0
"""Seconds, against hangs only."""


class _Process:
    """One of them, and what it has journaled."""

    def __init__(self, command: list[str], log: Path, ledger: Ledger) -> None:
        self._ledger = ledger
        self.vague = 0.0
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out)
        self._log: IO[str] = log.open(encoding="utf-8")
        self._rest = ""
        self.spooled = self.direct = 0

    def read(self) -> None:
        *lines, self._rest = (self._rest + self._log.read()).split("\n")
        for line in lines:
            spooled, count = self._ledger.spooled, self._ledger.count
            self._ledger.take(line, vague=(ALL_HOSTS,), by=self.vague)
            self.spooled += self._ledger.spooled - spooled
            self.direct += self._ledger.count - count - (self._ledger.spooled - spooled)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


class SpoolHost:
    """The processes write between entering and `stop`; the ledger has what was accepted once it was `read`.

    Used from one thread, the ledger too.

    Args:
        directory: the host's own; its name names the host.
        first: the number of its first producer; no other host may have the same ones.
    """

    def __init__(self, url: str, queue: str, directory: Path, ledger: Ledger, processes: int, *, first: int) -> None:
        directory.mkdir()
        self.spool = directory / "spool"
        program = [sys.executable, "-m", "tests.support.spool_host", url, queue, str(self.spool)]
        self._processes: list[_Process] = []
        try:
            for number in range(processes):
                log = directory / f"{number}.log"
                command = [*program, f"{first + number * PRODUCERS}", f"hot-{directory.name}"]
                self._processes.append(_Process(command, log, ledger))
        except BaseException:
            self.kill()
            raise

    def read(self) -> None:
        for one in self._processes:
            one.read()
            assert one.process.poll() is None, "a producer's process has ended"

    def be_vague(self, seconds: float) -> None:
        """From what is read now on: the time within which the order of hosts is not judged, where they write to the
        same keys."""
        self.read()
        for one in self._processes:
            one.vague = seconds

    def wait_for_more(self, *, spooled: int = 0, direct: int = 0) -> None:
        """Returns when each process has had so many more accepted, in the spool and in Redis."""
        self.read()
        goals = [(one, one.spooled + spooled, one.direct + direct) for one in self._processes]

        def done() -> bool:
            self.read()
            return all(one.spooled >= most and one.direct >= least for one, most, least in goals)

        wait_until(done, LIMIT, "all processes write on")

    def stop(self) -> None:
        """Returns when each producer has had its last write accepted, and the ledger has it."""
        for one in self._processes:
            one.end()
        for one in self._processes:
            assert one.process.wait(LIMIT) == 0
            one.read()

    def kill(self) -> None:
        for one in self._processes:
            one.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def main(url: str, queue: str, directory: str, first: str, hot: str) -> None:
    with Writers(
        url,
        queue,
        Ledger(sys.stdout),
        producers=PRODUCERS,
        timeout=TIMEOUT,
        spool=directory,
        first=int(first),
        hot=(hot, ALL_HOSTS),
        pace=PACE,
        kinds=KINDS,
    ):
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
