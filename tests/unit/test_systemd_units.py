"""Facts of the units that systemd cannot check: limits above the worker's own, an example with every setting."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from penstock_worker import settings_env
from penstock_worker.daemon import STOP_MARGIN_SECONDS
from penstock_worker.redis_watch import SILENT_SECONDS
from penstock_worker.settings import WorkerSettings, read_settings, setting_names

SYSTEMD = Path(__file__).parents[2] / "systemd"
WORKER = SYSTEMD / "penstock-worker@.service"
EXPORTER = SYSTEMD / "penstock-exporter.service"
PAGE = SYSTEMD.parent / "docs" / "systemd.md"
EXAMPLE = SYSTEMD / "penstock.env.example"
UNITS = pytest.mark.parametrize("unit", [WORKER, EXPORTER], ids=lambda unit: unit.name)

SAME_IN_BOTH = re.compile(
    r"(Protect|Private|Restrict(?!ed)|System|Memory(?!Max)|Lock|Capability|NoNew|Dynamic|Keyring).*"
)


def options(unit: Path) -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in unit.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[name].append(value)
    return found


def seconds(unit: Path, name: str) -> float:
    (value,) = options(unit)[name]
    return float(value)


def test_a_stop_may_take_as_long_as_the_default_drain_and_what_comes_after_it() -> None:
    assert seconds(WORKER, "TimeoutStopSec") >= WorkerSettings().stop_timeout + STOP_MARGIN_SECONDS


@UNITS
def test_a_signal_comes_once_and_only_to_the_main_process(unit: Path) -> None:
    assert options(unit)["KillMode"] == ["mixed"]
    assert options(unit)["Type"] == ["notify"]


@UNITS
def test_the_watchdog_bites_and_leaves_time_for_the_stacks(unit: Path) -> None:
    assert 0 < seconds(unit, "WatchdogSec") <= SILENT_SECONDS
    assert 0 < seconds(unit, "TimeoutAbortSec") < seconds(unit, "TimeoutStopSec")
    assert "PYTHONFAULTHANDLER=1" in " ".join(options(unit)["Environment"])


@UNITS
def test_every_end_but_a_wrong_setting_is_followed_by_a_new_start(unit: Path) -> None:
    assert options(unit)["Restart"] == ["always"]
    assert options(unit)["RestartPreventExitStatus"] == ["2"]
    assert options(unit)["StartLimitIntervalSec"] == ["0"]


@UNITS
def test_nothing_secret_comes_by_the_environment(unit: Path) -> None:
    assert "penstock.toml" in options(unit)["LoadCredential"]
    environment = " ".join(options(unit)["Environment"])
    assert "PENSTOCK_CONFIG=%d/penstock.toml" in environment
    assert ("AWS_SHARED_CREDENTIALS_FILE=%d/penstock.aws" in environment) == (unit is WORKER), (
        "the exporter knows no S3"
    )


def test_both_services_are_hardened_alike() -> None:
    worker, exporter = (
        {name: value for name, value in options(unit).items() if SAME_IN_BOTH.fullmatch(name)}
        for unit in (WORKER, EXPORTER)
    )
    # A busy worker's threads have a home.
    worker["SystemCallFilter"].remove("sched_setaffinity")
    assert (options(WORKER)["ProcSubset"], options(EXPORTER)["ProcSubset"]) == (["all"], ["pid"])
    assert worker == exporter
    assert len(worker) > 20


def test_the_example_is_what_the_code_says() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == settings_env.example(), "run `make docs`"


def test_each_line_of_the_example_and_all_together_are_valid_and_none_is_missing() -> None:
    lines = re.findall(r"^#(PENSTOCK_\w+)=(.+)$", settings_env.example(), re.MULTILINE)
    assert [name for name, _ in lines] == [f"PENSTOCK_{name.upper()}" for name in setting_names()]
    assert all(line.startswith("#") or not line for line in settings_env.example().splitlines()), "nothing is set"
    settings = read_settings(dict(lines))
    changed = {name for name in setting_names() if getattr(settings, name) != getattr(WorkerSettings(), name)}
    unset = {name for name in setting_names() if getattr(WorkerSettings(), name) is None}
    assert changed == unset, "what has a default shows it, what has none an example"


def test_the_page_names_every_file_of_the_folder_and_the_units_own_values() -> None:
    page = PAGE.read_text(encoding="utf-8")
    files = {path.name for path in SYSTEMD.iterdir()}
    assert {name for name in files if re.sub(r"@?\.service$", "", name) not in page} == set()
    named = re.findall(r"`([A-Z]\w+)=(\w[^`]*)`", page)
    of_the_worker = {name: value for name, value in named if name in options(WORKER)}
    assert {"TimeoutStopSec", "MemoryMax", "OOMScoreAdjust"} <= of_the_worker.keys()
    assert of_the_worker == {name: options(WORKER)[name][0] for name in of_the_worker}
