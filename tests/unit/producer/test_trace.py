"""The trace of a write: what is taken, what is refused, and where it comes from when nobody names it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from penstock import InvalidWrite, Write
from penstock.queue.record import Header, Record, decode, encode_header
from penstock.write import prepare_delete
from tests.support.prepared import prepare_put

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def record_of(head: bytes, tail: bytes) -> Record:
    """As a worker reads it, once the enqueue script has put its part before it."""
    return decode(b"\x01" + bytes(15) + head + tail)


def put(traceparent: Any = None, **fields: Any) -> Record:
    one = prepare_put(Write(key="key", body=b"body", traceparent=traceparent, **fields), "bucket", "low", 1000, b"")
    return record_of(one.head, one.tail)


@dataclass
class _Context:
    trace_id: int = int(TRACE, 16)
    span_id: int = int(SPAN, 16)
    trace_flags: int = 1


class _Span:
    """As much of OpenTelemetry's as is used."""

    def __init__(self, recording: bool = True, **context: int) -> None:
        self._recording = recording
        self._context = _Context(**context)

    def is_recording(self) -> bool:
        return self._recording

    def get_span_context(self) -> _Context:
        return self._context


def _trace_with(monkeypatch: pytest.MonkeyPatch, span: _Span) -> None:
    api: Any = ModuleType("opentelemetry.trace")
    api.get_current_span = lambda: span
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", api)


@pytest.mark.parametrize("good", [TRACEPARENT, f"00-{TRACE}-{SPAN}-00", f"fe-{TRACE}-{SPAN}-ff"])
def test_a_trace_goes_along_with_a_put_and_with_a_delete(good: str) -> None:
    assert put(good).header.traceparent == good
    delete = prepare_delete("key", "bucket", "low", "", good)
    record = record_of(delete.head, delete.tail)
    assert (record.header.traceparent, record.is_delete) == (good, True)


@pytest.mark.parametrize(
    "bad",
    [
        "", TRACE, f"0-{TRACE}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-01-x",
        f"00-{TRACE}-{SPAN}-01\n", f" {TRACEPARENT}", f"00-{TRACE[1:]}-{SPAN}-01", f"00-{TRACE}-{SPAN[1:]}g-01",
        TRACEPARENT.encode(), 7,
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidWrite, match="traceparent"):
        put(bad)
    with pytest.raises(InvalidWrite, match="traceparent"):
        prepare_delete("key", "bucket", "low", "", bad)


def test_a_trace_changes_nothing_else_of_a_header_and_is_not_taken_for_the_next_writes() -> None:
    fields: dict[str, Any] = {
        "content_type": "text/plain",
        "cache_control": "no-store",
        "content_disposition": "inline",
        "storage_class": "STANDARD",
        "tags": {"a": "b"},
        "metadata": {"c": "d"},
        "compression": "none",
    }
    plain = put(**fields).header
    traced = put(TRACEPARENT, **fields)
    assert traced.header.traceparent == TRACEPARENT
    assert {**_fields(traced.header), "traceparent": None} == _fields(plain) == _fields(put(**fields).header)
    assert bytes(traced.body or b"") == b"body"


def _fields(header: Header) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.__struct_fields__}


def test_without_a_trace_a_header_is_as_it_was() -> None:
    assert put().header.traceparent is None
    assert encode_header(Header()) == b"\x80"


def test_the_span_that_records_is_taken_when_nobody_names_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    _trace_with(monkeypatch, _Span())
    assert put().header.traceparent == TRACEPARENT
    other = f"00-{TRACE}-{SPAN[::-1]}-01"
    assert put(other).header.traceparent == other
    delete = prepare_delete("key", "bucket", "low", "")
    assert record_of(delete.head, delete.tail).header.traceparent == TRACEPARENT


@pytest.mark.parametrize("span", [_Span(recording=False), _Span(trace_id=0), _Span(span_id=0)])
def test_a_span_that_does_not_record_or_has_no_number_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, span: _Span
) -> None:
    _trace_with(monkeypatch, span)
    assert put().header.traceparent is None


def test_an_opentelemetry_that_is_just_being_imported_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))
    assert put().header.traceparent is None
