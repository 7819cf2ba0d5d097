"""Runs the command line as an operator does, and reads what it prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.worker import run_command


def printed(*args: str, env: Mapping[str, str], status: int = 0) -> Any:
    """What a command with --json prints."""
    done = run_command(*args, "--json", env=env)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def refused(*args: str, env: Mapping[str, str], status: int) -> str:
    """The one line on stderr of a command that ends with ``status``; usage errors have a hint before it."""
    done = run_command(*args, env=env)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert done.stdout == b""
    text = done.stderr.decode()
    assert "Traceback" not in text
    return text.splitlines()[-1]
