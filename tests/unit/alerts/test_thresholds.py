"""Thresholds: defaults are in their own ranges, and values that would break the rules are refused."""

from __future__ import annotations

import re

import pytest

from penstock_worker.alerts.thresholds import DURATION_PATTERN, THRESHOLDS, Threshold, shown

every = pytest.mark.parametrize("threshold", THRESHOLDS.values(), ids=lambda one: str(one.name))


@every
def test_a_default_is_in_its_own_range(threshold: Threshold) -> None:
    assert threshold.parse(shown(threshold.default)) == threshold.default


@every
def test_a_default_survives_being_shown_and_its_ends_are_in_the_range(threshold: Threshold) -> None:
    assert re.fullmatch("[a-z0-9_]+", threshold.name), "Helm takes no other names after a dot"
    for end in (threshold.least, threshold.most):
        if end is not None:
            assert threshold.parse(shown(end)) == end
    if threshold.unit == "duration":
        assert re.fullmatch(DURATION_PATTERN, str(threshold.default))


@every
def test_what_would_break_a_rule_is_refused(threshold: Threshold) -> None:
    for bad in ("", " ", "-1", "nan", "inf", "5w", "1e", "{{x}}", 'a"/b', "a'/b", "a /b", "/a\n", "9999999h"):
        with pytest.raises(ValueError, match="not"):
            threshold.parse(bad)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("s3_error_share_warning", "1.01"), ("least_requests", "0"), ("s3_error_window_critical", "4s"),
        ("s3_error_window_critical", "8d"), ("oldest_critical", "604801"), ("redis_disk_mountpoint", "var/lib"),
        ("redis_disk_mountpoint", "/a|"), ("redis_disk_mountpoint", "/a(b"), ("runbook_url", "runbook"),
    ],
)  # fmt: skip
def test_beyond_its_range_a_value_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(value))):
        THRESHOLDS[name].parse(value)
