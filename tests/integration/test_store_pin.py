"""Rule PIN: a request is signed, then its lease is checked, then it is sent: its date is never the later one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.signers import RequestSigner

from penstock_worker.stores import Check, Store
from penstock_worker.stores.boto import BotoStore
from tests.support.stores import BUCKET, config_for, only_environment_credentials, request
from tests.support.stub_s3 import StubS3, deleted, reply, stored

pytestmark = pytest.mark.integration

CALLS: dict[str, Callable[[Store, Check], object]] = {
    "put": lambda store, check: store.put(request(), check),
    "delete_together": lambda store, check: store.delete_many(BUCKET, ["a", "b"], check),
    "delete_one_by_one": lambda store, check: store.delete_many(BUCKET, ["\x01"], check),
}


ANSWERS = {"put": stored(), "delete_together": deleted("a", "b"), "delete_one_by_one": reply(204)}


@pytest.mark.parametrize("call", CALLS)
def test_pin_boto3_checks_the_lease_between_the_signature_and_the_request(
    call: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only_environment_credentials(monkeypatch, tmp_path)
    order: list[str] = []
    sign = RequestSigner.sign

    def noted(*args: Any, **options: Any) -> None:
        sign(*args, **options)
        order.append("signed")

    monkeypatch.setattr(RequestSigner, "sign", noted)
    with StubS3() as stub, closing(BotoStore(config_for(stub.endpoint_url))) as store:
        stub.script(ANSWERS[call])

        def check() -> None:
            assert not stub.requests, "it was sent before the check"
            order.append("checked")

        CALLS[call](store, check)
        assert len(stub.requests) == 1
    assert order == ["signed", "checked"]
