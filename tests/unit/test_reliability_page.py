"""docs/reliability.md names tests and selections of tests: they exist."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    files: dict[str, str] = defaultdict(str)
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] += path.read_text(encoding="utf-8")
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", PAGE)
    assert len(named) > 30
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in files[file]]
    assert not missing
    every = "\n".join(files.values())
    assert not [name for name in re.findall(r"…(test_\w+)", PAGE) if f"def {name}(" not in every]
    assert not [file for file in re.findall(r"(test_\w+\.py)", PAGE) if not files[file]]


def test_every_selection_of_fault_tests_selects_something() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/faults").glob("test_*.py"))
    rows = [line for line in PAGE.partition("## Faults")[2].splitlines() if line.startswith("| ")]
    selections = [found[1] for row in rows if (found := re.search(r"`([\w ]+)` \|$", row))]
    assert len(selections) > 20
    assert not [word for one in selections for word in one.split(" or ") if word not in text]
