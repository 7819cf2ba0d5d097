"""Reads every object back with boto3, as any reader of the bucket would, and compares it with its file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from penstock_worker.compress import decode
from penstock_worker.demo.enqueue import Obligation

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS = 8


@dataclass(slots=True)
class Verified:
    """``right`` objects equal their files. The lists hold keys; ``wrong`` says what is wrong with each."""

    right: int = 0
    compressed: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def looked_at(self) -> int:
        return self.right + len(self.wrong) + len(self.missing)

    @property
    def good(self) -> bool:
        return not (self.wrong or self.missing or self.unexpected)


class Verifier:
    """``check`` is called before each object and may raise to end it all. Raises botocore's errors."""

    def __init__(
        self, client: S3Client, bucket: str, expected: Mapping[str, Obligation | None], check: Callable[[], None]
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._expected = {key: obligation for key, obligation in expected.items() if obligation is not None}
        self._check = check
        self._lock = Lock()
        self.result = Verified()

    @property
    def total(self) -> int:
        return len(self._expected)

    def run(self) -> Verified:
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="demo-reader")
        try:
            for future in [pool.submit(self._look_at, *item) for item in self._expected.items()]:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
        # Last, so that an object that comes late or comes back is seen.
        self.result.unexpected = sorted(self._listed() - self._expected.keys())
        return self.result

    def _look_at(self, key: str, obligation: Obligation) -> None:
        self._check()
        problem = self._problem(key, obligation)
        with self._lock:
            if problem is None:
                self.result.right += 1
            elif problem == "":
                self.result.missing.append(key)
            else:
                self.result.wrong[key] = problem

    def _problem(self, key: str, obligation: Obligation) -> str | None:
        """What is wrong with an object; empty when there is none."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                return ""
            raise
        with closing(answer["Body"]) as stream:
            stored = stream.read()
        encoding = answer.get("ContentEncoding")
        try:
            body = decode(stored, encoding)
        except ValueError as error:
            return str(error)
        sha256 = hashlib.sha256(body).hexdigest()
        if sha256 != obligation.sha256:
            return f"its SHA-256 is {sha256}, the file's is {obligation.sha256}"
        if answer.get("Metadata", {}).get("penstock-sha256") != sha256:
            return "its metadata do not hold its SHA-256"
        if answer.get("ContentType") != obligation.content_type:
            return f"its content type is {answer.get('ContentType')}, not {obligation.content_type}"
        if answer.get("TagCount", 0) != obligation.tags:
            return f"it has {answer.get('TagCount', 0)} tags, not {obligation.tags}"
        if encoding:
            with self._lock:
                self.result.compressed += 1
        return None

    def _listed(self) -> set[str]:
        keys: set[str] = set()
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket):
            self._check()
            keys.update(entry["Key"] for entry in page.get("Contents", ()))
        return keys
