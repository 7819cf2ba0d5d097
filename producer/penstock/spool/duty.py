"""The thread that replays: of all processes of a host one at a time does, the others look on."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import threading
import traceback
from pathlib import Path

import redis

from penstock.calls import Options
from penstock.errors import PenstockError
from penstock.spool.append import Spool
from penstock.spool.files import SpoolBusyError, SpoolFiles
from penstock.spool.jobs import Jobs, LostError
from penstock.spool.replay import Replay
from penstock.spool.room import is_full

LOOK = 1.0
"""Seconds between looks of an idle thread at the flag that all processes share."""
FIRST_PAUSE = 0.1
LAST_PAUSE = 2.0
"""Seconds between tries while Redis is away, with jitter."""

log = logging.getLogger("penstock.spool")


class ReplayDuty:
    """A daemon thread. A process that dies in the middle of it loses nothing: another one takes over."""

    def __init__(self, options: Options, spool: Spool) -> None:
        self._options = options
        self._spool = spool
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-spool", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """What still lies in the spool stays there for other processes, or for the next start."""
        self._ends.set()
        self._spool.grown.set()
        self._thread.join(self._options.timeout)

    def _run(self) -> None:
        pause, told = 0.0, ""
        while not self._ends.is_set():
            if pause:
                self._ends.wait(pause)
            else:
                self._spool.grown.wait(LOOK)
                self._spool.grown.clear()
            if self._ends.is_set() or not self._spool.pending:
                pause = 0.0
                continue
            try:
                done = replay_all(self._options, self._spool.directory, self._ends)
            except (PenstockError, redis.RedisError, SpoolBusyError, sqlite3.Error, OSError, LostError) as error:
                why = str(error)
            except Exception as error:  # noqa: BLE001 - a bug must not end the only thread that tries again
                why = _without_values(error)
            else:
                pause = 0.0 if done else LOOK
                if done and told:
                    log.warning("the spool was sent to Redis")
                    told = ""
                continue
            if why != told:  # once for each reason, however often it is tried
                log.warning("the spool waits: %s", why)
                told = why
            pause = min(LAST_PAUSE, max(FIRST_PAUSE, pause * 2)) * random.uniform(0.5, 1.0)


def _without_values(error: Exception) -> str:
    """What an error nobody thought of is, and where; its message may hold an application's data."""
    places = (f"{Path(at.filename).name}:{at.lineno}" for at in traceback.extract_tb(error.__traceback__))
    return f"{type(error).__name__} at {' '.join(places)}"


def replay_all(options: Options, directory: str, ends: threading.Event) -> bool:
    """Replays until the spool is empty, or until ``ends``. False: another process does it.

    Raises:
        PenstockError, redis.RedisError: the queue does not take the writes now; they stay where they are.
        SpoolBusyError, sqlite3.Error, OSError: the spool cannot be read or written now.
        LostError: another process has taken over.
    """
    files = SpoolFiles(directory, options.queue)
    jobs = Jobs(files, f"{os.getpid()}-{os.urandom(6).hex()}")
    replay = Replay(options, jobs)
    try:
        if not jobs.take():
            return False
        try:
            while not ends.is_set() and jobs.take() and replay.step():
                pass
        finally:
            jobs.give_back()
        files.reserve.fill()
        return True
    except sqlite3.OperationalError as error:
        if is_full(error):
            files.reserve.release()  # for the next try
        raise
    finally:
        replay.close()
        files.close()
