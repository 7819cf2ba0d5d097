"""A producer's settings, its defaults for a write, and its prepared writes."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import AsyncProducer, InvalidSetting, InvalidWrite, Producer, Write
from penstock.calls import Caller, Options
from penstock.packing import pack
from penstock.queue.names import PRIORITIES

URL = "redis://localhost:1/0"


def options(**changes: Any) -> Options:
    given = {"bucket": "my-bucket", "priorities": None, **changes}
    return Options.make(
        URL,
        given.get("queue", "default"),
        given["bucket"],
        given.get("timeout", 2.0),
        given.get("max_body_bytes", 1000),
        given["priorities"],
        given.get("durability", "memory"),
    )


def priority_of(key: str, given: str | None, priorities: dict[str, str]) -> str:
    prepared = pack(Caller(options(priorities=priorities)).check(Write(key=key, body=b"", priority=given)))
    return PRIORITIES[prepared.head[0]]


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("reports/1", None, "low"),
        ("reports/urgent/1", None, "high"),
        ("reports/urgent/flags/1", None, "critical"),
        ("report", None, "normal"),
        ("other", None, "normal"),
        ("reports/urgent/1", "normal", "normal"),
        ("other", "low", "low"),
    ],
)
def test_the_longest_key_prefix_decides_the_priority_unless_the_call_does(
    key: str, given: str | None, expected: str
) -> None:
    prefixes = {"reports/": "low", "reports/urgent/flags/": "critical", "reports/urgent/": "high"}
    assert priority_of(key, given, prefixes) == expected


def test_an_empty_prefix_is_the_default_for_all() -> None:
    assert priority_of("anything", None, {"": "low"}) == "low"


@pytest.mark.parametrize("kind", [Producer, AsyncProducer])
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        *(
            ({"timeout": timeout}, "PENSTOCK_PRODUCER_TIMEOUT")
            for timeout in (0, -1, 301, float("nan"), "2", None, True)
        ),
        *(({"max_body_bytes": size}, "PENSTOCK_MAX_BODY_BYTES") for size in (0, -1, 2**30, "1MiB", None)),
        *(({"queue": queue}, "PENSTOCK_QUEUE") for queue in ("", "a b", "a{b}", "q" * 65, "queue\n", None, 7)),
        *(({"bucket": bucket}, "PENSTOCK_BUCKET") for bucket in ("", "My_Bucket", 7)),
        *(({"url": url}, "PENSTOCK_REDIS_URL") for url in (None, 7, b"redis://localhost")),
        ({"priorities": {"a/": "urgent"}}, "critical, high, normal, low"),
        ({"priorities": {"a/": ["low"]}}, "critical, high, normal, low"),
        ({"priorities": {7: "low"}}, "critical, high, normal, low"),
        ({"priorities": [("a/", "low")]}, "must map key prefixes"),
    ],
)
def test_a_bad_setting_is_refused_when_the_producer_is_made(kind: Any, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidSetting, match=why):
        kind(**{"url": URL, **changes})


@pytest.mark.parametrize("kind", [Producer, AsyncProducer])
def test_from_env_reads_the_environment(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BUCKET", "env-bucket")
    monkeypatch.setenv("PENSTOCK_QUEUE", "env-queue")
    monkeypatch.setenv("PENSTOCK_PRODUCER_TIMEOUT", "0.25")
    monkeypatch.setenv("PENSTOCK_MAX_BODY_BYTES", "2KiB")
    monkeypatch.setenv("PENSTOCK_LEASE_SECONDS", "15")
    made = kind.from_env(priorities={"a/": "low"})._options
    assert (made.bucket, made.queue, made.timeout, made.max_body_bytes) == ("env-bucket", "env-queue", 0.25, 2048)
    assert made.prefixes == (("a/", "low"),)
    monkeypatch.setenv("PENSTOCK_BUCKET", "Bad_Bucket")
    with pytest.raises(InvalidSetting, match="PENSTOCK_BUCKET"):
        kind.from_env()


def test_a_write_without_a_bucket_says_where_to_name_one() -> None:
    with pytest.raises(InvalidWrite, match="PENSTOCK_BUCKET"):
        Caller(options(bucket=None)).check(Write(key="key", body=b""))


def test_a_bad_write_among_many_is_named() -> None:
    good = Write(key="key", body=b"")
    with pytest.raises(InvalidWrite, match=r"^writes\[2\]: the key has 0 bytes"):
        Caller(options()).check_many([good, good, Write(key="", body=b"")])
    with pytest.raises(InvalidWrite, match=r"^writes\[1\] must be a Write, not tuple"):
        Caller(options()).check_many([good, ("key", b"body")])


def test_every_large_body_gets_a_name_of_its_own() -> None:
    callers = [Caller(options(max_body_bytes=100_000)) for _ in range(2)]
    writes = [pack(caller.check(Write(key="key", body=bytes(70_000)))) for caller in callers for _ in range(2)]
    assert len({write.blob_id for write in writes}) == 4
