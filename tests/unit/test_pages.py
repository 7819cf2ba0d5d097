"""What README and the pages in docs name exists: commands, options, settings, metrics, alerts, log events, places."""

from __future__ import annotations

import re

import pytest
import yaml

from penstock_worker.settings import setting_names
from tests.support.exposed import exposed
from tests.support.pages import ROOT, Page, pages, read, wrong_with

PAGES = pages()
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
RUNBOOK = read(ROOT / "docs/runbook.md")
RUNBOOKS = [page for page in PAGES if page.path.name.startswith("runbook")]

SETTINGS = {f"PENSTOCK_{name.upper()}" for name in setting_names()}
NO_SETTINGS = {
    "PENSTOCK_CONFIG",  # names the file of settings
    "PENSTOCK_FAULT_SECONDS",  # of the tests
    "PENSTOCK_TEST_REDIS_SERVER",  # of the tests
}
SERIES = exposed().keys()
METRICS = {*SERIES, *(re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in SERIES)}
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load((ROOT / "monitoring/alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}


@EACH
def test_every_command_and_option_exists(page: Page) -> None:
    wrong = {" ".join(call): problem for call in page.commands() if (problem := wrong_with(call))}
    assert not wrong


@EACH
def test_every_setting_exists(page: Page) -> None:
    named = re.findall(r"(?<![A-Z_])PENSTOCK_[A-Z0-9_]+(?!\w|[*…])", page.text)
    assert not set(named) - SETTINGS - NO_SETTINGS


@EACH
def test_every_metric_exists(page: Page) -> None:
    named = set(re.findall(r"\bpenstock_[a-z0-9_]+[a-z0-9]\b(?!_?[*…])", page.text)) - {"penstock_worker"}
    assert not named - METRICS


@EACH
def test_every_alert_exists(page: Page) -> None:
    code = " ".join([*page.spans, *page.blocks, *page.links, *re.findall(r"^#+ (\w+)$", page.prose, re.MULTILINE)])
    named = set(re.findall(r"\bPenstock[A-Z]\w+", code)) - {"PenstockError"}
    assert not named - ALERTS


@EACH
def test_every_link_leads_somewhere(page: Page) -> None:
    lost = []
    for link in page.links:
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        if not target.exists() or (anchor and anchor not in read(target).anchors):
            lost.append(link)
    assert not lost


def test_every_alert_has_its_heading_in_the_runbook() -> None:
    headings = re.findall(r"^### (.+)$", RUNBOOK.prose, re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS)
    assert RUNBOOK.anchors >= {alert.lower() for alert in ALERTS}


def test_every_alert_in_the_runbook_says_what_it_means_what_to_do_and_when_it_is_over() -> None:
    sections = re.split(r"^### ", RUNBOOK.text, flags=re.MULTILINE)[1:]
    for section in sections:
        bold = " ".join(re.findall(r"^- \*\*(.+?):\*\*", section, re.MULTILINE)).lower()
        missing = [word for word in ("users", "look", "likely", "do", "over", "not") if word not in bold]
        assert not missing, section.splitlines()[0]


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.path.name)
def test_every_log_event_in_the_runbook_is_documented(page: Page) -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", read(ROOT / "docs/logs.md").text, re.MULTILINE))
    named = set(re.findall(r'"?event"?(?:\)? == |: )"(\w+)"', page.text))
    assert not named - documented


def test_the_pages_name_enough_for_this_to_say_something() -> None:
    assert sum(1 for page in PAGES for _ in page.commands()) > 150
    assert sum(1 for page in RUNBOOKS for _ in page.commands()) > 60
    assert wrong_with(["queue", "stat"]) == "no command 'stat'"
    assert wrong_with(["dead", "retry", "--al"]) == "retry has no option '--al'"
