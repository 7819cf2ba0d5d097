"""The operators' programs that tests/ops runs: from PATH, or unpacked into .ops by tests/ops/packages.sh."""

import shutil
from pathlib import Path

_UNPACKED = Path(__file__).parents[2] / ".ops" / "usr" / "bin"
_INSTALLED = {"systemd-analyze": "systemd"}  # of packages that need more than unpacking
_DEBIAN_NAMES = {"alertmanager": "prometheus-alertmanager"}  # Debian's package calls the program this


def ops_tool(name: str) -> str:
    """The path of `name`: prometheus, promtool, alertmanager, amtool or systemd-analyze."""
    found = shutil.which(name) or shutil.which(_DEBIAN_NAMES.get(name, name), path=_UNPACKED)
    if found is None and name in _INSTALLED:
        raise FileNotFoundError(f"{name} is not on PATH: install the package {_INSTALLED[name]} (252 or newer)")
    if found is None:
        raise FileNotFoundError(f"{name} is neither on PATH nor unpacked: run make test-ops, which fetches it")
    return found
