"""Buckets in metrics' labels: never more of them than is good for Prometheus."""

from __future__ import annotations

from penstock_worker.bucket_labels import MOST_SEEN, OTHER, BucketLabels
from penstock_worker.metrics import ConcurrencyCollector


def test_with_an_allow_list_only_its_buckets_have_labels() -> None:
    labels = BucketLabels(frozenset({"one", "two"}))
    assert [labels.label(bucket) for bucket in ("one", "two", "three")] == ["one", "two", OTHER]


def test_without_one_the_first_that_are_seen_have_labels_for_good() -> None:
    labels = BucketLabels(None)
    names = [f"bucket-{number}" for number in range(MOST_SEEN)]
    assert [labels.label(bucket) for bucket in names] == names
    assert labels.label("one-more") == OTHER
    assert [labels.label(bucket) for bucket in names] == names


def test_buckets_that_share_a_label_make_one_series() -> None:
    labels = BucketLabels(frozenset({"one"}))
    (family,) = ConcurrencyCollector(lambda: {"one": 12, "two": 20, "three": 7}, labels).collect()
    assert {sample.labels["bucket"]: sample.value for sample in family.samples} == {"one": 12, OTHER: 20}
