"""What an error of S3's means: the one table behind section 5 of the design.

Codes are from Amazon's list of error codes in the S3 API reference, botocore's list of throttling codes
(``botocore/retries/standard.py``), Ceph's ``rgw_common.cc`` and MinIO's ``api-errors.go``. In doubt between
environment and permanent, environment is right: a write that fails again and again while others of its bucket
succeed runs out of attempts there too, and a setting that is wrong for all writes costs no data.
"""

from __future__ import annotations

from penstock_worker.stores.base import MESSAGE_LIMIT, ErrorClass, StoreFault

# Codes of ours, for what has none of S3's.
CONNECT_FAILED = "ConnectFailed"  # no connection, so nothing was sent
CERTIFICATE_REFUSED = "CertificateRefused"  # the TLS handshake: nothing was sent
TIMEOUT = "Timeout"
CONNECTION_RESET = "ConnectionReset"
TRUNCATED_RESPONSE = "TruncatedResponse"
UNREADABLE_RESPONSE = "UnreadableResponse"
ENGINE_ERROR = "EngineError"  # the engine failed in a way nobody has named
NO_CODE = "NoCode"  # an answer with a status and without a code of S3's
NO_CREDENTIALS = "NoCredentials"
CREDENTIALS_FAILED = "CredentialsFailed"  # found, but not to be had: a role, SSO, a credential process
INVALID_SETTING = "InvalidSetting"  # endpoint, region, proxy or CA bundle that no client can be made with
INVALID_PARAMETER = "InvalidParameter"  # refused before anything was sent
BUCKET_NOT_ALLOWED = "BucketNotAllowed"  # not on the worker's allow-list
CHECKSUM_MISMATCH = "ChecksumMismatch"  # the body changed between put and upload

_CODES: dict[ErrorClass, tuple[str, ...]] = {
    ErrorClass.THROTTLE: (
        *("SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests", "TooManyRequestsException"),
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled"),
        *("RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded"),
        *("ReducedRate", "PriorRequestNotComplete", "KMS.ThrottlingException", "KMS.LimitExceededException"),
    ),
    ErrorClass.TRANSIENT: (
        *(CONNECT_FAILED, "ConditionalRequestConflict", "OperationAborted", "RequestTimeout"),
        # The body did not arrive as it was sent, and S3 refuses to store another.
        *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
    ),
    ErrorClass.UNKNOWN: (
        *(TIMEOUT, CONNECTION_RESET, TRUNCATED_RESPONSE, UNREADABLE_RESPONSE, ENGINE_ERROR),
        *("InternalError", "ServiceUnavailable", "BadGateway", "GatewayTimeout"),
    ),
    ErrorClass.ENVIRONMENT: (
        *(NO_CREDENTIALS, CREDENTIALS_FAILED, INVALID_SETTING, BUCKET_NOT_ALLOWED, CERTIFICATE_REFUSED),
        # Who we are.
        *("AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        *("MissingSecurityHeader", "InvalidBucketOwnerAWSAccountID"),
        *("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "InvalidSecurity"),
        *("InvalidClientTokenId", "UnrecognizedClientException", "MissingAuthenticationToken", "AuthFailure"),
        *("AccountProblem", "AllAccessDisabled", "NotSignedUp", "UserSuspended", "InvalidPayer"),
        # When we are.
        *("RequestTimeTooSkewed", "RequestExpired", "RequestNotYetValid"),
        # Where the bucket is, and whether.
        *("NoSuchBucket", "InvalidBucketName", "InvalidBucketState", "NoSuchAccessPoint", "MethodNotAllowed"),
        *("PermanentRedirect", "TemporaryRedirect", "Redirect", "InvalidRegion"),
        *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
        *("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"),
        # Encryption by the bucket's or the worker's settings; other KMS codes by their prefix.
        *("KMS.DisabledException", "KMS.InvalidStateException", "KMS.KMSInvalidStateException"),
        *("KMS.NotFoundException", "KMS.InvalidKeyUsageException", "KMS.AccessDeniedException"),
        *("InvalidEncryptionAlgorithmError", "InvalidEncryptionMethod"),
        # S3 says these of settings (encryption, object lock) and a store of features it lacks.
        *("InvalidRequest", "NotImplemented", "NotSupported"),
    ),
    ErrorClass.PERMANENT: (
        *(INVALID_PARAMETER, CHECKSUM_MISMATCH),
        *("KeyTooLongError", "KeyTooLong", "InvalidObjectName", "InvalidURI", "InvalidTag", "MalformedXML"),
        *("EntityTooLarge", "EntityTooSmall", "MetadataTooLarge", "RequestHeaderSectionTooLarge"),
        *("InvalidArgument", "InvalidStorageClass", "InvalidDigest", "MissingContentLength"),
        *("PreconditionFailed", "UnexpectedContent"),
    ),
}
_CLASS_OF = {code: error_class for error_class, codes in _CODES.items() for code in codes}
_KMS_PREFIX = "KMS."
KMS_OTHER = "KMS.Other"

LABEL_CODES = frozenset((*_CLASS_OF, NO_CODE, KMS_OTHER, "other"))
"""Every value that `label_code` gives: the closed list behind the metrics' ``code``."""

_STATUS_CLASS = {
    401: ErrorClass.ENVIRONMENT,
    403: ErrorClass.ENVIRONMENT,
    404: ErrorClass.ENVIRONMENT,  # neither PUT nor DELETE can miss a key: bucket or endpoint
    405: ErrorClass.ENVIRONMENT,
    407: ErrorClass.ENVIRONMENT,
    408: ErrorClass.TRANSIENT,
    409: ErrorClass.TRANSIENT,
    429: ErrorClass.THROTTLE,
    501: ErrorClass.ENVIRONMENT,
    507: ErrorClass.ENVIRONMENT,
}
_WRITE_TOO_LARGE = (413, 414, 431)  # what something in front of S3 says of this very write
_STATUS_CODE = {301: "PermanentRedirect", 302: "Redirect", 307: "TemporaryRedirect"}

STALE_CREDENTIALS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"),
        *("InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"),
    }
)
"""Faults that fresh credentials may cure, so the cached ones are dropped at once."""


def classify(code: str, status: int | None) -> ErrorClass:
    """The class of an error: by its code, else by its HTTP status (None: no answer came)."""
    known = _CLASS_OF.get(code)
    if known is not None:
        return known
    if code.startswith(_KMS_PREFIX):
        return ErrorClass.ENVIRONMENT
    if status is None:
        return ErrorClass.UNKNOWN
    if status in _STATUS_CLASS:
        return _STATUS_CLASS[status]
    if 300 <= status < 400:
        return ErrorClass.ENVIRONMENT
    if 400 <= status < 500:
        if code == NO_CODE and status not in _WRITE_TOO_LARGE:
            return ErrorClass.ENVIRONMENT  # not S3's own words: a proxy, a firewall, another service
        return ErrorClass.PERMANENT
    return ErrorClass.UNKNOWN


def label_code(code: str) -> str:
    """``code`` as a metric's label: itself if it is in the table, else ``other``."""
    if code in LABEL_CODES:
        return code
    return KMS_OTHER if code.startswith(_KMS_PREFIX) else "other"


def fault(code: str, status: int | None, message: str) -> StoreFault:
    """A fault of the class that the table says. ``message`` must hold no secret; it is cut to length."""
    text = " ".join(message.split())
    if len(text) > MESSAGE_LIMIT:
        text = text[: MESSAGE_LIMIT - 1] + "…"
    return StoreFault(classify(code, status), code, status, text)


def answer_fault(code: str | None, status: int, message: str | None) -> StoreFault:
    """The fault for an answer of S3's; ``code`` and ``message`` are None when its body had none."""
    known = code or _STATUS_CODE.get(status, NO_CODE)
    return fault(known, status, message or f"an answer with status {status} and without an error message")
