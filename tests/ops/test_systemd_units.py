"""systemd's own judgement of the units: nothing unknown in them, and hardened."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.ops_tools import ops_tool

SYSTEMD = Path(__file__).parents[2] / "systemd"
SERVICES = ("penstock-worker@.service", "penstock-exporter.service")
MOST_EXPOSED = 1.5
"""Of ten, by `systemd-analyze security`: what is left is the network, which is the worker's purpose."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ops_tool("systemd-analyze"), *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("unit", [*SERVICES, "penstock-worker@7.service", "penstock.target"])
def test_systemd_understands_every_line(unit: str, tmp_path: Path) -> None:
    shutil.copytree(SYSTEMD, tmp_path, dirs_exist_ok=True)
    done = analyze("verify", "--recursive-errors=yes", str(tmp_path / unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_the_service_is_hardened(unit: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", str(SYSTEMD / unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= MOST_EXPOSED, done.stdout
