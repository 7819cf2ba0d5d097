"""The commands that reach Redis, as MONITOR shows them; those that scripts run themselves are left out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

import redis

from penstock.queue.scripts import load

READY_SECONDS = 10.0
LAST = "penstock-benchmark-has-seen-enough"


def script_names() -> dict[str, str]:
    """By the SHA-1 by which they are called."""
    found = files("penstock.queue").joinpath("scripts").iterdir()
    names = [entry.name.removesuffix(".lua") for entry in found if entry.name.endswith(".lua")]
    return {load(name).sha.decode(): name for name in names}


@contextmanager
def seen_commands(redis_url: str) -> Iterator[Counter[str]]:
    """Counts them by name, scripts by their own, from here to the context's end; complete when that is left.

    Its own connection costs Redis time with each command: nothing is timed beside it.
    """
    counts: Counter[str] = Counter()
    names = script_names()
    watching = threading.Event()

    def count() -> None:
        with redis.Redis.from_url(redis_url, socket_timeout=None) as client, client.monitor() as monitor:
            watching.set()
            for command in monitor.listen():
                if command["client_type"] == "lua":
                    continue
                first, _, rest = str(command["command"]).partition(" ")
                if rest.startswith(LAST):
                    return
                name = names.get(rest.partition(" ")[0], first) if first.upper() == "EVALSHA" else first
                counts[name.lower()] += 1

    thread = threading.Thread(target=count, name="monitor", daemon=True)
    thread.start()
    if not watching.wait(READY_SECONDS):
        raise TimeoutError("Redis does not answer MONITOR")
    try:
        yield counts
    finally:
        with redis.Redis.from_url(redis_url) as client:
            client.echo(LAST)
        thread.join(READY_SECONDS)
