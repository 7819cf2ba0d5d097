"""The operators' programs start: a later failure is then one of Penstock's own files."""

import subprocess

import pytest

from tests.support.ops_tools import ops_tool


@pytest.mark.parametrize("name", ["prometheus", "promtool", "alertmanager", "amtool"])
def test_the_program_runs(name: str) -> None:
    done = subprocess.run([ops_tool(name), "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert "version" in done.stdout + done.stderr
