"""obstore's exceptions as faults, with the class, code and status that boto3 would give.

obstore 0.12 says what happened in the text of its exceptions only. The first paragraph holds the status and
S3's answer; the second is Rust's debug print and holds the kind of a connection's failure.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import unescape

from penstock_worker.stores import faults
from penstock_worker.stores.base import StoreFault

_DEBUG = "\n\nDebug source:\n"
_GENERIC = "Generic "
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]{1,128})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_REDIRECT = "Received redirect without LOCATION"
_NO_ETAG = "ETag Header missing"
_CERTIFICATE = "InvalidCertificate("
_KIND = re.compile(r"HttpError \{\s*kind: (\w+),")
_CONNECTING = re.compile(r"legacy::Error\(\s*Connect,")
"""hyper's own word for the phase: a connection that timed out is of the kind Timeout, like any other."""
_REASON = re.compile(r'(?:message|error): "([^"]{1,200})"')


def from_obstore(error: BaseException, key: str) -> StoreFault:
    """The fault behind an exception out of `obstore.put` of ``key``."""
    said, _, debug = str(error).partition(_DEBUG)
    if not said.startswith(_GENERIC):
        # The other texts quote the key before S3's answer, and a key may read like one.
        said = said[said.find(key) + len(key) :]
    status = _STATUS.search(said)
    if status is not None:
        answer = said[status.end() :]
        code, message = _CODE.search(answer), _MESSAGE.search(answer)
        return faults.answer_fault(code and code.group(1), int(status.group(1)), message and unescape(message.group(1)))
    if _REDIRECT in said:
        # S3 leaves the Location out when a bucket is in another region, and says 301.
        return faults.answer_fault(None, 301, "the bucket is in another region")
    if _NO_ETAG in said:
        return faults.fault(faults.UNREADABLE_RESPONSE, 200, "the answer to a PUT came without an ETag")
    kind = _KIND.search(debug)
    if kind is None:
        # No text of the engine's: it may quote what we gave it, credentials included.
        return faults.fault(faults.ENGINE_ERROR, None, f"obstore failed: {type(error).__name__}")
    code_of_ours, text = _connection(kind.group(1), debug)
    return faults.fault(code_of_ours, None, text)


def _connection(kind: str, debug: str) -> tuple[str, str]:
    """Code and message for a request that got no answer; ``kind`` is object_store's ``HttpErrorKind``."""
    if _CERTIFICATE in debug:
        return faults.CERTIFICATE_REFUSED, "S3's TLS certificate was not accepted: is AWS_CA_BUNDLE right?"
    if kind == "Connect" or _CONNECTING.search(debug):
        reason = _REASON.search(debug)
        return faults.CONNECT_FAILED, f"no connection to S3: {reason.group(1) if reason else 'timed out'}"
    if kind == "Timeout":
        return faults.TIMEOUT, "no answer from S3 within the time limit"
    if kind == "Interrupted" or "IncompleteMessage" in debug:
        return faults.CONNECTION_RESET, "the connection ended before S3's answer"
    return faults.UNREADABLE_RESPONSE, f"S3's answer could not be read: {kind}"
