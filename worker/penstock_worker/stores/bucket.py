"""What there is to know of a bucket beside its objects, for the doctor. One request a call, by boto3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from penstock_worker.stores.base import StoreFault
from penstock_worker.stores.boto import BotoStore

NO_LIFECYCLE = "NoSuchLifecycleConfiguration"


@dataclass(frozen=True, slots=True)
class BucketAnswer:
    """S3's answer to HeadBucket, a refusal too: its headers tell more than its body, which a HEAD has not."""

    fault: StoreFault | None
    region: str | None
    date: datetime | None


def head_bucket(store: BotoStore, bucket: str) -> BucketAnswer:
    """Raises `StoreFault` when no answer came."""
    headers: dict[str, str] = {}

    def remember(http_response: Any, **_: object) -> None:
        headers.update({name.lower(): value for name, value in http_response.headers.items()})

    event = "after-call.s3.HeadBucket"  # sent for refusals too, before they become exceptions
    store.ask(lambda client: client.meta.events.register(event, remember))
    fault = None
    try:
        store.ask(lambda client: client.head_bucket(Bucket=bucket, **store.owner))
    except StoreFault as refused:
        if refused.http_status is None:
            raise
        fault = refused
    finally:
        store.ask(lambda client: client.meta.events.unregister(event, remember))
    return BucketAnswer(fault, headers.get("x-amz-bucket-region"), _date(headers))


def object_tags(store: BotoStore, bucket: str, key: str) -> dict[str, str]:
    answer = store.ask(lambda client: client.get_object_tagging(Bucket=bucket, Key=key, **store.owner))
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def days_until_uploads_are_aborted(store: BotoStore, bucket: str) -> int | None:
    """After how many days the bucket aborts any unfinished multipart upload; None when it never does."""
    try:
        answer = store.ask(lambda client: client.get_bucket_lifecycle_configuration(Bucket=bucket, **store.owner))
    except StoreFault as fault:
        if fault.code == NO_LIFECYCLE:
            return None
        raise
    days = [
        rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        for rule in answer.get("Rules", ())
        if rule["Status"] == "Enabled" and "AbortIncompleteMultipartUpload" in rule and _covers_all(rule)
    ]
    return min(days, default=None)


def _covers_all(rule: Mapping[str, Any]) -> bool:
    """Whether the rule is for every key: no prefix, neither in the old place nor in the filter, and no tag."""
    return not rule.get("Prefix") and not any(rule.get("Filter", {}).values())


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return None
