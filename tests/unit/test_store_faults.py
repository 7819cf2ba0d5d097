"""The table of section 5, and the limits by size."""

from __future__ import annotations

import pytest

from penstock_worker.stores import ErrorClass, StoreConfig, StoreFault, classify, label_code
from penstock_worker.stores import faults as table
from penstock_worker.stores.limits import CLASS_BOUNDS, MIB, request_seconds, size_class
from penstock_worker.stores.object_store_faults import from_obstore

# Written out, not taken from the table: this is the design's own list.
DESIGN = {
    ErrorClass.THROTTLE: ["SlowDown", "TooManyRequests", "ThrottlingException", "RequestLimitExceeded"],
    ErrorClass.TRANSIENT: ["ConnectFailed", "ConditionalRequestConflict", "BadDigest", "RequestTimeout"],
    ErrorClass.UNKNOWN: ["Timeout", "ConnectionReset", "TruncatedResponse", "UnreadableResponse"],
    ErrorClass.ENVIRONMENT: [
        *("AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"),
        *("KMS.DisabledException", "KMS.NotFoundException", "RequestTimeTooSkewed", "PermanentRedirect"),
        *("BucketNotAllowed", "NoCredentials", "AllAccessDisabled", "AccountProblem", "InvalidToken"),
    ],
    ErrorClass.PERMANENT: [
        *("KeyTooLongError", "InvalidTag", "EntityTooLarge", "InvalidArgument", "ChecksumMismatch"),
    ],
}


@pytest.mark.parametrize(
    ("code", "error_class"), [(code, error_class) for error_class, codes in DESIGN.items() for code in codes]
)
def test_a_known_code_decides_whatever_the_status(code: str, error_class: ErrorClass) -> None:
    for status in (None, 200, 400, 403, 503):
        assert classify(code, status) is error_class


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        *((429, ErrorClass.THROTTLE), (408, ErrorClass.TRANSIENT), (409, ErrorClass.TRANSIENT)),
        *((500, ErrorClass.UNKNOWN), (502, ErrorClass.UNKNOWN), (503, ErrorClass.UNKNOWN)),
        *((504, ErrorClass.UNKNOWN), (599, ErrorClass.UNKNOWN), (None, ErrorClass.UNKNOWN)),
        *((301, ErrorClass.ENVIRONMENT), (307, ErrorClass.ENVIRONMENT), (401, ErrorClass.ENVIRONMENT)),
        *((403, ErrorClass.ENVIRONMENT), (404, ErrorClass.ENVIRONMENT), (501, ErrorClass.ENVIRONMENT)),
        *((400, ErrorClass.PERMANENT), (413, ErrorClass.PERMANENT), (422, ErrorClass.PERMANENT)),
    ],
)
def test_an_unknown_code_is_classed_by_its_status(status: int | None, error_class: ErrorClass) -> None:
    assert classify("NeverSeenBefore", status) is error_class


def test_an_answer_that_is_not_s3s_dead_letters_nothing_but_what_is_too_large() -> None:
    permanent = [status for status in range(300, 600) if classify(table.NO_CODE, status) is ErrorClass.PERMANENT]
    assert permanent == [413, 414, 431]


def test_no_code_stands_in_two_classes() -> None:
    codes = [code for each in table._CODES.values() for code in each]
    assert len(codes) == len(set(codes))


def test_labels_are_a_closed_list() -> None:
    assert label_code("SlowDown") == "SlowDown"
    assert label_code(table.NO_CODE) == table.NO_CODE
    assert label_code("KMS.InventedYesterday") == "KMS.Other"
    assert label_code("AKIAIOSFODNN7EXAMPLE") == "other"
    assert {label_code("KMS.InventedYesterday"), label_code("x"), *DESIGN[ErrorClass.UNKNOWN]} <= table.LABEL_CODES


def test_a_message_is_one_line_of_bounded_length() -> None:
    fault = table.fault("SlowDown", 503, "two\nlines " + "x" * 1000)
    assert fault.message.startswith("two lines xxx")
    assert len(fault.message) == 500
    assert str(fault).startswith("SlowDown (HTTP 503, throttle): two lines")


def test_a_size_falls_into_the_smallest_class_that_holds_it() -> None:
    assert [size_class(size) for size in (0, MIB, MIB + 1, 4 * MIB, 5 * 1024 * MIB)] == [0, 0, 1, 1, 6]
    assert size_class(100 * CLASS_BOUNDS[-1]) == len(CLASS_BOUNDS) - 1


def test_a_time_limit_covers_the_largest_body_of_its_class() -> None:
    config = StoreConfig(request_timeout=5.0, min_bytes_per_second=2 * MIB)
    for size in (0, 1000, MIB, 3 * MIB, 16 * MIB, 5 * 1024 * MIB):
        assert request_seconds(config, size_class(size)) >= 5.0 + size / (2 * MIB)
    assert request_seconds(config, size_class(1000)) == 5.5


class PanicException(BaseException):
    """Named like pyo3's, which cannot be imported."""


@pytest.mark.parametrize(
    "error", [ValueError("Could not parse path: secret"), RuntimeError("secret"), PanicException("secret")]
)
def test_what_obstore_says_in_new_words_is_unknown_and_not_quoted(error: BaseException) -> None:
    fault = from_obstore(error, "key")
    assert isinstance(fault, StoreFault)
    assert (fault.error_class, fault.code) == (ErrorClass.UNKNOWN, "EngineError")
    assert "secret" not in fault.message
