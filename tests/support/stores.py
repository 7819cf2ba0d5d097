"""What the tests of the object-store engines share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock_worker.stores import Engine, PutRequest, Store, StoreConfig, StoreFault, open_store

ENGINES: tuple[Engine, ...] = ("obstore", "boto3")
SHORT_LIMIT = 0.3  # seconds: a request time limit for tests in which no answer comes
BUCKET = "the-bucket"

ODD_KEYS = (
    *("a b/ü+%#?&=.json", "/lead", "trail/", "a//b", "a/../b", "a/./b", "..", "%41", "%2F", "a+b", "~"),
    *("emoji/😀", "~user/$&,:;=@!*'()", 'quote"back\\slash<>[]{}|^`', " space ", "tab\t\x7f"),
    *("dots/..a/b.../.c", "decomposed-u\u0308", "k" * 1024),
)
LINE_BREAK_KEY = "line\nbreak"  # moto's routing does not find such a key: 404


def allow() -> None:
    """A check for a lease that is alive."""


def only_environment_credentials(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    """Made-up credentials, and nothing else of this machine: no profile, no proxy, no instance metadata."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def config_for(endpoint_url: str | None, *, request_timeout: float = 10.0) -> StoreConfig:
    return StoreConfig(endpoint_url=endpoint_url, region="us-east-1", request_timeout=request_timeout)


@contextmanager
def opened(engine: Engine, config: StoreConfig) -> Iterator[Store]:
    store = open_store(engine, config)
    try:
        yield store
    finally:
        store.close()


def request(key: str = "key", body: bytes = b"body", metadata: Mapping[str, str] | None = None) -> PutRequest:
    return PutRequest(BUCKET, key, body, metadata=metadata or {})


def fault_of_put(store: Store, request: PutRequest) -> StoreFault:
    with pytest.raises(StoreFault) as caught:
        store.put(request, allow)
    return caught.value
