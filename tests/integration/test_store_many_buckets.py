"""A worker of more buckets than obstore may hold connection pools for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from obstore.store import S3Store

from penstock_worker.stores import PutRequest, object_store
from tests.support.stores import allow, config_for, only_environment_credentials, opened
from tests.support.stub_s3 import StubS3

pytestmark = pytest.mark.integration


def test_stores_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_environment_credentials(monkeypatch, tmp_path)
    made: list[str] = []

    def make(bucket: str, **settings: Any) -> S3Store:
        made.append(bucket)
        return S3Store(bucket, **settings)

    monkeypatch.setattr(object_store, "S3Store", make)
    monkeypatch.setattr(object_store, "MAX_STORES", 2)
    with StubS3() as stub, opened("obstore", config_for(stub.endpoint_url)) as store:
        for bucket in ("one", "two", "one", "two", "three", "three", "one", "two"):
            store.put(PutRequest(bucket, "k", b"x"), allow)
        targets = [recorded.target for recorded in stub.requests]
    # "three" lets both go; then "one" fits beside it, and "two" lets go again.
    assert made == ["one", "two", "three", "one", "two"]
    assert targets == [f"/{bucket}/k" for bucket in ["one", "two", "one", "two", "three", "three", "one", "two"]]
