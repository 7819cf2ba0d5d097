"""botocore's exceptions as faults. One function, since both engines meet them."""

from __future__ import annotations

from http.client import HTTPException

from botocore import exceptions as boto
from botocore.httpchecksum import FlexibleChecksumError
from botocore.parsers import ResponseParserError

from penstock_worker.stores import faults
from penstock_worker.stores.base import StoreFault

BOTO_ERRORS = (boto.BotoCoreError, boto.ClientError, ResponseParserError)
"""All that a boto3 client raises by itself; whatever else comes out of a call is somebody else's."""

_CREDENTIALS = (
    *(boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.RefreshWithMFAUnsupportedError),
    *(boto.TokenRetrievalError, boto.SSOError, boto.MetadataRetrievalError, boto.ProfileNotFound),
    *(boto.ConfigParseError, boto.ConfigNotFound, boto.InvalidConfigError, boto.UnauthorizedSSOTokenError),
)
_SETTINGS = (
    *(boto.NoRegionError, boto.InvalidRegionError, boto.EndpointProviderError, boto.UnknownEndpointError),
    *(boto.InvalidProxiesConfigError, boto.InvalidS3AddressingStyleError),
    boto.UnsupportedS3ConfigurationError,
)
_NO_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""No socket raises these under TLS: they are about the CA bundle, which is read for each connection."""
_INVALID_BUCKET = "Invalid bucket name"


def from_boto(error: Exception) -> StoreFault:
    """The fault behind one of `BOTO_ERRORS`."""
    if isinstance(error, boto.ClientError):
        return _answered(error)
    code, message = _unanswered(error)
    return faults.fault(code, None, message)


def _answered(error: boto.ClientError) -> StoreFault:
    said = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = said.get("Code", "")
    if not code or code == str(status):
        # botocore makes a code and a message up from the status line when an answer has no readable body.
        return faults.answer_fault(None, status, None)
    return faults.answer_fault(code, status, said.get("Message"))


def _unanswered(error: Exception) -> tuple[str, str]:
    """Code and message. Messages are botocore's own where they hold no more than host, key and reason."""
    if isinstance(error, boto.NoCredentialsError):
        return faults.NO_CREDENTIALS, "boto3's chain found no credentials"
    if isinstance(error, _CREDENTIALS):
        # The texts of credential processes and SSO are somebody else's: the type must do.
        return (
            faults.CREDENTIALS_FAILED,
            f"boto3's chain could not get credentials: {type(error.__cause__ or error).__name__}",
        )
    if isinstance(error, _SETTINGS):
        return faults.INVALID_SETTING, str(error)
    if isinstance(error, boto.ParamValidationError):
        text = str(error)
        return ("InvalidBucketName" if _INVALID_BUCKET in text else faults.INVALID_PARAMETER), text
    if isinstance(error, boto.SSLError):
        return _tls(str(error), _root(error))
    if isinstance(error, (boto.ConnectTimeoutError, boto.EndpointConnectionError, boto.ProxyConnectionError)):
        return faults.CONNECT_FAILED, f"no connection to S3: {_reason(error)}"
    if isinstance(error, boto.ReadTimeoutError) or isinstance(_root(error), TimeoutError):
        return faults.TIMEOUT, "no answer from S3 within the time limit"
    if isinstance(error, (boto.IncompleteReadError, boto.ResponseStreamingError)):
        return faults.TRUNCATED_RESPONSE, "S3's answer ended early"
    if isinstance(error, boto.ConnectionClosedError):
        if isinstance(_root(error), HTTPException) and not isinstance(_root(error), ConnectionError):
            return faults.UNREADABLE_RESPONSE, "S3's answer is not HTTP"
        return faults.CONNECTION_RESET, f"the connection ended before S3's answer: {_reason(error)}"
    if isinstance(error, (ResponseParserError, FlexibleChecksumError)):
        return faults.UNREADABLE_RESPONSE, "S3's answer could not be read, or is not what it announced"
    return faults.ENGINE_ERROR, f"boto3 failed: {type(error).__name__}: {_reason(error)}"


def _tls(text: str, root: BaseException) -> tuple[str, str]:
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return faults.CERTIFICATE_REFUSED, "S3's TLS certificate was not accepted: is AWS_CA_BUNDLE right?"
    if isinstance(root, _NO_FILE) or getattr(root, "library", None) == "X509":
        return faults.INVALID_SETTING, f"the CA bundle cannot be used: {type(root).__name__}: is AWS_CA_BUNDLE right?"
    return faults.CONNECTION_RESET, "the TLS connection to S3 failed"


def _root(error: BaseException) -> BaseException:
    """The innermost error: botocore and urllib3 wrap it in ``kwargs``, ``__cause__`` and ``args``."""
    for _ in range(8):  # deeper than they nest; a cycle must not hang a worker
        wrapped = error.kwargs.get("error") if isinstance(error, boto.BotoCoreError) else error.__cause__
        inner = wrapped or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _reason(error: Exception) -> str:
    root = _root(error)
    return root.strerror if isinstance(root, OSError) and root.strerror else type(root).__name__
