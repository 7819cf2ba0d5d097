"""The trace that a write belongs to, as W3C Trace Context names it in its header "traceparent"."""

from __future__ import annotations

import re
import sys
from typing import Any

from penstock.errors import InvalidWrite

_TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_OPENTELEMETRY = "opentelemetry.trace"


def traceparent_of(given: object) -> str | None:
    """What the caller gave, else that of OpenTelemetry's span. Raises InvalidWrite."""
    if given is None:
        return _current()
    if not isinstance(given, str) or not _TRACEPARENT.fullmatch(given):
        raise InvalidWrite(
            f"traceparent {str(given)[:64]!r}: of the form 00-TRACE-SPAN-01 (W3C Trace Context), 32 and 16 lower-case "
            "hexadecimal digits that are not all zero; leave out what is not"
        )
    return given


def _current() -> str | None:
    """The span that records now, if the application traces with OpenTelemetry; it is not imported for that."""
    api: Any = sys.modules.get(_OPENTELEMETRY)
    get_current_span = getattr(api, "get_current_span", None)  # absent while another thread imports it
    if get_current_span is None:
        return None
    span = get_current_span()
    if not span.is_recording():
        return None
    context = span.get_span_context()
    found = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return found if _TRACEPARENT.fullmatch(found) else None
