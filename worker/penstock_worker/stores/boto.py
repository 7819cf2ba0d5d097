"""S3 through boto3: for what obstore cannot do, and for the whole data path where a setting says so."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from botocore.config import Config
from botocore.exceptions import BotoCoreError

from penstock_worker.stores import faults
from penstock_worker.stores.base import (
    CONNECT_SECONDS,
    Check,
    ErrorClass,
    ObjectInfo,
    PutRequest,
    StoreConfig,
    StoreFault,
)
from penstock_worker.stores.boto_faults import BOTO_ERRORS, from_boto
from penstock_worker.stores.credentials import CredentialSource
from penstock_worker.stores.headers import refuse_bad_headers
from penstock_worker.stores.limits import request_seconds, size_class, transfer_seconds

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef

T = TypeVar("T")
Hook = Callable[["AWSPreparedRequest"], None]

BULK_KEYS = 1000
"""S3's limit for one DeleteObjects."""
_SMALL = 0
"""The size class of requests without a body."""
_NO_CONTENT = 204
"""S3's status for a DELETE that it did; there is no more to tell it by."""
_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})
_ALONE = re.compile(r"\A/|[\x00-\x08\x0b-\x1f\ufffe\uffff]")
"""Keys that no DeleteObjects has. XML 1.0 cannot carry some characters even escaped (its production ``Char``). A
carriage return that a store does not escape is a newline to who reads its answer, and MinIO drops a leading slash:
either way the answer would name another key."""


class BotoStore:
    """`Store` by boto3. Safe to share between threads; makes a client at once, so make it after a fork.

    Raises ValueError when no client can be made with ``config``, say of a malformed endpoint URL, or with what boto3
    reads itself: AWS_PROFILE, AWS_CONFIG_FILE and others.

    boto3 has no time limit for a whole request. Connecting and sending the body may each take
    `CONNECT_SECONDS` plus the body's share, and then each wait for a piece of the answer the full request
    limit. So a request can outlast its limit at a server that answers in drips; rule CAP is the net below.
    """

    def __init__(self, config: StoreConfig, credentials: CredentialSource | None = None) -> None:
        self._config = config
        self.credentials = credentials or CredentialSource()
        self._clients: dict[int, S3Client] = {}
        self._making = threading.Lock()
        # boto3's handlers belong to a client, which all threads share; a call stays in its thread throughout.
        self._before_send = threading.local()
        owner = {"ExpectedBucketOwner": config.expected_owner}
        self.owner: dict[str, Any] = {name: value for name, value in owner.items() if value}
        """What every request says of the account that must own the bucket."""
        encryption = {"ServerSideEncryption": config.sse, "SSEKMSKeyId": config.kms_key_id}
        self._every_put = {**self.owner, **{name: value for name, value in encryption.items() if value}}
        try:
            self._session = self.credentials.session()
            self._client(_SMALL)
        except BotoCoreError as error:  # quotes nothing but settings: credentials are looked up later
            raise ValueError(str(error)) from error

    def put(self, request: PutRequest, check: Check) -> None:
        refuse_bad_headers(request)
        client = self._client(size_class(len(request.body)))
        with self._calling(lambda _: check()):
            answer = client.put_object(**self._put_parameters(request))
        if not answer.get("ETag"):
            # Something that is no S3 said 200. obstore refuses it too.
            raise faults.fault(faults.UNREADABLE_RESPONSE, 200, "the answer to a PUT came without an ETag")

    def delete_many(self, bucket: str, keys: Sequence[str], check: Check) -> dict[str, StoreFault]:
        if len(keys) > BULK_KEYS:
            raise ValueError(f"{len(keys)} keys in one call: {BULK_KEYS} are allowed")
        alone = [key for key in keys if _ALONE.search(key)]
        together = [key for key in keys if not _ALONE.search(key)]
        failures: dict[str, StoreFault] = {}
        if together:
            try:
                failures = self._delete_together(bucket, together, check)
            except StoreFault as fault:
                if fault.error_class is not ErrorClass.PERMANENT:
                    raise
                alone = list(keys)
        for key in alone:
            try:
                self._delete_alone(bucket, key, check)
            except StoreFault as fault:
                if fault.code not in _GONE:
                    failures[key] = fault
        return failures

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            with self._calling(_no_check):
                answer = self._client(_SMALL).head_object(Bucket=bucket, Key=key, **self.owner)
        except StoreFault as fault:
            if fault.http_status == 404:
                return None
            raise
        return _info(answer)

    def get(self, bucket: str, key: str) -> tuple[ObjectInfo, bytes] | None:
        try:
            with self._calling(_no_check):
                answer = self._client(_SMALL).get_object(Bucket=bucket, Key=key, **self.owner)
                # Not `with body`: that enters the raw stream and skips botocore's checks of length and checksum.
                with closing(answer["Body"]) as body:
                    return _info(answer), body.read()
        except StoreFault as fault:
            if fault.http_status == 404 and fault.code in {*_GONE, faults.NO_CODE}:
                return None
            raise

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def locate(self, bucket: str) -> str:
        """The URL that requests for the bucket go to, as botocore's endpoint rules have it. Sends nothing.

        Raises `StoreFault` like any request.
        """
        try:
            with self._calling(_located):
                self._client(_SMALL).head_bucket(Bucket=bucket)
        except _Located as located:
            return located.url
        raise AssertionError("before-send was not called")

    def ask(self, call: Callable[[S3Client], T]) -> T:
        """A call of boto3's that `Store` does not have; its errors become faults."""
        with self._calling(_no_check):
            return call(self._client(_SMALL))

    @property
    def region(self) -> str:
        return self._client(_SMALL).meta.region_name

    def _delete_together(self, bucket: str, keys: Sequence[str], check: Check) -> dict[str, StoreFault]:
        with self._calling(lambda _: check()):
            # Not quiet: a proxy's page, too, is an answer without errors. Gone is what the answer calls deleted.
            answer = self._client(_SMALL).delete_objects(
                Bucket=bucket,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": False},
                **self.owner,
            )
        told: dict[str | None, StoreFault | None] = {entry.get("Key"): None for entry in answer.get("Deleted", ())}
        for error in answer.get("Errors", ()):
            code = error.get("Code")
            told[error.get("Key")] = None if code in _GONE else faults.answer_fault(code, 200, error.get("Message"))
        unnamed = faults.fault(faults.UNREADABLE_RESPONSE, 200, "the answer to a DeleteObjects does not name the key")
        if not told:
            raise unnamed  # something that is no S3 said 200
        every = {key: told.get(key, unnamed) for key in keys}
        return {key: fault for key, fault in every.items() if fault is not None}

    def _delete_alone(self, bucket: str, key: str, check: Check) -> None:
        with self._calling(lambda _: check()):
            answer = self._client(_SMALL).delete_object(Bucket=bucket, Key=key, **self.owner)
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        if status != _NO_CONTENT:
            raise faults.fault(faults.UNREADABLE_RESPONSE, status, "the answer to a DELETE is none of S3's: not a 204")

    def _put_parameters(self, request: PutRequest) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            **self._every_put,
            "Bucket": request.bucket,
            "Key": request.key,
            "Body": request.body,
            "ChecksumSHA256": base64.b64encode(hashlib.sha256(request.body).digest()).decode(),
        }
        optional = {
            "ContentType": request.content_type,
            "CacheControl": request.cache_control,
            "ContentDisposition": request.content_disposition,
            "ContentEncoding": request.content_encoding,
            "StorageClass": request.storage_class,
            "Tagging": urlencode(request.tags),
            "Metadata": dict(request.metadata),
        }
        parameters.update((name, value) for name, value in optional.items() if value)
        return parameters

    def _client(self, size_class: int) -> S3Client:
        client = self._clients.get(size_class)
        if client is not None:
            return client
        with self._making:  # clients are safe to share, making them is not
            if size_class not in self._clients:
                self._clients[size_class] = self._make_client(size_class)
            return self._clients[size_class]

    def _make_client(self, size_class: int) -> S3Client:
        config = self._config
        client = self._session.client(
            "s3",
            endpoint_url=config.endpoint_url,
            region_name=config.region,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 1},
                max_pool_connections=config.concurrency,
                tcp_keepalive=True,
                # urllib3 sends the body under the time limit for connecting.
                connect_timeout=CONNECT_SECONDS + transfer_seconds(config, size_class),
                read_timeout=request_seconds(config, size_class),
                s3={"addressing_style": config.addressing},
            ),
        )
        client.meta.events.register("before-send.s3", self._run_hook)
        client.meta.events.register("before-call.s3", _follow_no_redirect)
        if size_class == _SMALL:
            client.meta.events.register_last("before-call.s3", _send_at_once)
        return client

    def _run_hook(self, request: AWSPreparedRequest, **_: object) -> None:
        hook: Hook = self._before_send.hook
        hook(request)

    @contextmanager
    def _calling(self, hook: Hook) -> Iterator[None]:
        """One call of this thread: ``hook`` runs before a request is sent; boto3's errors become faults."""
        generation = self.credentials.generation
        self._before_send.hook = hook
        try:
            yield
        except BOTO_ERRORS as error:
            fault = from_boto(error)
            if fault.code in faults.STALE_CREDENTIALS:
                self.credentials.drop(generation)
            # Without the cause: a traceback would show the answer, where S3 may quote the signature.
            raise fault from None
        finally:
            del self._before_send.hook


class _Located(Exception):
    """Ends a call right before it is sent, with the URL it would have gone to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


def _located(request: AWSPreparedRequest) -> None:
    raise _Located(request.url)


def _no_check(request: AWSPreparedRequest) -> None:
    """For reads, which a lease does not guard."""


def _follow_no_redirect(params: dict[str, Any], **_: object) -> None:
    """Keep botocore from answering a redirect with a search for the bucket's region and a second request.

    The mark is the one that its ``S3RegionRedirectorv2`` sets on a request that it has redirected.
    """
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _send_at_once(params: dict[str, Any], **_: object) -> None:
    """Drop ``Expect: 100-continue``, which boto3 puts on every body, bytes included.

    It costs a small body a second round trip, and a second where nobody answers it. A large one keeps it: S3
    can then refuse the request before the body instead of closing the connection in the middle of it.
    """
    params["headers"].pop("Expect", None)


def _info(answer: HeadObjectOutputTypeDef | GetObjectOutputTypeDef) -> ObjectInfo:
    if not answer.get("ETag"):
        # As for a PUT. A page would pass for somebody else's object, on which the guard takes its mark away.
        raise faults.fault(faults.UNREADABLE_RESPONSE, 200, "the answer to a look came without an ETag")
    return ObjectInfo(
        size=answer["ContentLength"],
        etag=answer["ETag"],
        metadata={name.lower(): value for name, value in answer.get("Metadata", {}).items()},
        content_encoding=answer.get("ContentEncoding"),
        content_type=answer.get("ContentType"),
    )
