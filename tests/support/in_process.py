"""The command line in the test's own process, by its real entry point: quick enough for a table of all commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import click
import pytest

from penstock_worker.cli import cli, main


class Ended(NamedTuple):
    status: int
    out: bytes
    err: str


class Cli:
    """Runs commands with these variables alone. Not for commands that replace the process: worker, exporter, demo."""

    def __init__(
        self, env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]
    ) -> None:
        self._env = env
        self._monkeypatch = monkeypatch
        self._capture = capture

    def __call__(self, *args: str, **variables: str | None) -> Ended:
        """``variables`` replace those of the environment; None takes one away."""
        self._capture.readouterr()
        status = 0
        with self._monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["penstock", *args])
            for name in list(os.environ):
                if name.startswith(("AWS_", "PENSTOCK_")):
                    patched.delenv(name)
            for name, value in {**self._env, **variables}.items():
                if value is not None and name != "PYTHONPATH":
                    patched.setenv(name, value)
            try:
                main()
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        out, err = self._capture.readouterr()
        return Ended(status, out, err.decode())


def leaves(group: click.Group = cli, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is no group, with its place: ("queue", "list")."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield (*path, name), command
