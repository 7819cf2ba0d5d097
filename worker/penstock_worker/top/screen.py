"""`penstock top` on a terminal, as one frame, and as JSON."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import NoReturn

import click
import redis
from rich.console import Console
from rich.live import Live

from penstock.queue.connection import translate
from penstock.queue.sharded import Clients, ShardedQueue
from penstock_worker.cli.common import open_queue, print_json, rfc3339
from penstock_worker.settings import WorkerSettings
from penstock_worker.top.frame import Away, draw
from penstock_worker.top.json_form import view_json
from penstock_worker.top.look import look
from penstock_worker.top.view import View, Viewer

REDIS_SECONDS = 2.0
"""Time limit of a call: who watches wants to see soon that Redis hangs."""

DRAW_SECONDS = 0.25
"""How soon a screen of another size is filled anew; and while Redis is away its clock goes on."""


class Watch:
    """Looks again and again, also while Redis is away. For one thread."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._url = settings.redis_url
        self._queue = ShardedQueue(Clients(settings.redis_url, REDIS_SECONDS, settings.queue), settings.queue)
        self._viewer = Viewer()
        self.view: View | None = None
        self.away: Away | None = None

    def look(self) -> View | Away:
        try:
            self.view = self._viewer.view(look(self._queue))
            self.away = None
        except redis.exceptions.RedisError as error:
            since = datetime.now(UTC) if self.away is None else self.away.since
            self.away = Away(since, str(translate(error, self._url, maybe_accepted=False)))
            return self.away
        return self.view


def watch(settings: WorkerSettings, interval: float, console: Console) -> NoReturn:
    """Fills the terminal until Ctrl-C or a signal, and gives it back as it was."""
    watch = Watch(settings)
    with _ended_by_signals(), Live(console=console, screen=True, auto_refresh=False) as live:

        def show() -> tuple[int, int]:
            size = console.size
            live.update(
                draw(watch.view, watch.away, datetime.now(UTC), width=size.width, height=size.height), refresh=True
            )
            return size

        while True:
            watch.look()
            next_look, size = time.monotonic() + interval, show()
            while (pause := next_look - time.monotonic()) > 0:
                time.sleep(min(pause, DRAW_SECONDS))
                if watch.away is not None or console.size != size:
                    size = show()


def print_frame(settings: WorkerSettings, interval: float, console: Console) -> None:
    """One frame, as long as it takes. Raises PenstockError."""
    view = _second_view(settings, interval)
    console.print(draw(view, None, datetime.now(UTC), width=console.width, height=None))


def print_object(settings: WorkerSettings, interval: float) -> None:
    """The same as JSON. Raises PenstockError."""
    print_json(view_json(_second_view(settings, interval)))


def stream(settings: WorkerSettings, interval: float) -> NoReturn:
    """One JSON object a line, until Ctrl-C; while Redis is away one that says so."""
    watch = Watch(settings)
    while True:
        found = watch.look()
        shown = view_json(found) if isinstance(found, View) else _away_json(settings, found)
        click.echo(json.dumps(shown, ensure_ascii=False))
        time.sleep(interval)


def _away_json(settings: WorkerSettings, away: Away) -> dict[str, str]:
    now, since = rfc3339(datetime.now(UTC)), rfc3339(away.since)
    return {"at": now, "queue": settings.queue, "since": since, "error": away.problem}


def _second_view(settings: WorkerSettings, interval: float) -> View:
    with open_queue(settings) as queue:
        viewer = Viewer()
        viewer.view(look(queue))
        time.sleep(interval)
        return viewer.view(look(queue))


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as an exception does, so that the screen is given back."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
