"""A Redis that loses its last steps: it comes back with the data of an earlier moment."""

from __future__ import annotations

import shutil
from pathlib import Path

from penstock_worker.demo.servers import RedisServer

_FILES = "appendonlydir"


class Backup:
    """What a server had been told when this was made, which costs it nothing.

    Args:
        server: with ``appendfsync="always"``, so that its files hold all that it has answered.
        directory: the server's.
    """

    def __init__(self, server: RedisServer, directory: Path) -> None:
        self._server = server
        self._files = directory / _FILES
        self._copy = directory / "backup"
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._files, self._copy)

    def load(self) -> None:
        """Kills the server and starts it with what it had then: all that came later is lost."""
        self._server.kill()
        shutil.rmtree(self._files)
        shutil.copytree(self._copy, self._files)
        self._server.start()
