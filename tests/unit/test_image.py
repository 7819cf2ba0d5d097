"""The image: what is copied into it, and that it holds what the tests ran on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def _pins(lock: str) -> dict[str, str]:
    """Each requirement of a lock, with its conditions, and its hashes."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    found = re.findall(r"^(\S+==[^\\\n]*?) *\\\n((?:    --hash=\S+(?: \\)?\n)+)", text, re.MULTILINE)
    return {requirement.partition(" ;")[0]: hashes for requirement, hashes in found}


@pytest.mark.parametrize("lock", ["requirements-worker.txt", "requirements-build.txt"])
def test_the_images_locks_are_parts_of_the_one_that_tests_use(lock: str) -> None:
    pins = _pins(lock)
    assert pins
    assert pins.items() <= _pins("requirements-dev.txt").items(), "run make lock"


def test_the_images_locks_have_everything_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        "requirements-worker.txt": project["project"]["dependencies"]
        + project["project"]["optional-dependencies"]["worker"],
        "requirements-build.txt": project["build-system"]["requires"],
    }
    for lock, requirements in wanted.items():
        locked = {pin.partition("==")[0].partition("[")[0] for pin in _pins(lock)}
        assert {re.split(r"[\[>=<]", one)[0] for one in requirements} <= locked, f"{lock}: run make lock"


def test_all_that_is_copied_is_there_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sources = [
        name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    ]
    assert "pyproject.toml" in sources
    for name in sources:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, f"{name} is not sent to the builder"


def test_the_image_starts_what_the_chart_asks_for_as_a_user_with_a_number() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r'^ENTRYPOINT \["penstock"\]\nCMD \["worker"\]$', last, re.MULTILINE)
    user = re.search(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert user is not None, "runAsNonRoot needs a number"
    assert int(user[1]) > 0
    assert "STOPSIGNAL SIGTERM" in last
    assert "pip" not in last, "the runtime installs nothing"
    installs = re.findall(r"pip(?: --python \S+)? install (.+)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in one or one == "--no-deps /wheels/*.whl" for one in installs)
