"""S3 through obstore, the Rust ``object_store``: the fast data path. Not named obstore, which it imports."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import botocore.session
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from penstock_worker.stores import faults
from penstock_worker.stores.base import (
    CONNECT_SECONDS,
    Check,
    ObjectInfo,
    PutRequest,
    StoreConfig,
    StoreFault,
)
from penstock_worker.stores.boto import BotoStore
from penstock_worker.stores.boto_faults import BOTO_ERRORS, from_boto
from penstock_worker.stores.credentials import CredentialSource
from penstock_worker.stores.headers import refuse_bad_headers
from penstock_worker.stores.limits import request_seconds, size_class
from penstock_worker.stores.object_store_faults import from_obstore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

# No possessive repeats: with one of a group, Python 3.11.2 (Debian 12's) takes `trail/` for a match.
_PLAIN_KEY = re.compile(r"(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f]+(?:/(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f]+)*\Z")
"""Keys that object_store passes on as they are. It cuts ``/`` off the ends without a word and refuses empty
segments, ``.``, ``..`` and control characters."""
_PLAIN_BUCKET = re.compile(r"(?!.*--x-s3\Z)[A-Za-z0-9][A-Za-z0-9._-]*\Z")
"""Not the ARN of an access point, nor a directory bucket, whose sessions boto3 keeps."""
_ATTRIBUTES = frozenset(
    {
        *("cache-control", "content-disposition", "content-encoding", "content-language", "content-type"),
        "storage-class",
    }
)
"""Names that obstore takes for headers, in any case; user metadata may be called that as well."""
MAX_STORES = 64
"""Stores kept at once, one for each bucket and size class; each takes about 750 KiB (measured). When another
is wanted, all are let go: a worker of so many buckets makes each anew, in 20 ms."""
_PANIC = "PanicException"
"""pyo3's class for a panic in Rust. It derives from BaseException and cannot be imported."""


class ObstoreStore:
    """`Store` by obstore, with a `BotoStore` for what obstore cannot do. Safe to share between threads.

    Make it after a fork: obstore's threads do not survive one. Raises ValueError like `BotoStore`.

    obstore signs inside its call, so ``check`` comes before the signature's date here: a process frozen in
    between sends, on waking, a PUT with a fresh signature and a dead lease (section 6 of the design, PIN).
    """

    def __init__(self, config: StoreConfig, credentials: CredentialSource | None = None) -> None:
        self._config = config
        self._boto = BotoStore(config, credentials)
        self._credentials = self._boto.credentials
        self._generation = self._credentials.generation
        # obstore fixes bucket and time limit when a store is made, hence one of each kind.
        self._stores: dict[tuple[str, int], S3Store] = {}
        self._making = threading.Lock()

    def put(self, request: PutRequest, check: Check) -> None:
        metadata = request.metadata
        if not _is_plain(request.bucket, request.key) or not _ATTRIBUTES.isdisjoint(map(str.lower, metadata)):
            self._boto.put(request, check)
            return
        refuse_bad_headers(request)
        attributes = dict(metadata)
        if request.content_type:
            attributes["Content-Type"] = request.content_type
        if request.content_encoding:
            attributes["Content-Encoding"] = request.content_encoding
        if request.cache_control:
            attributes["Cache-Control"] = request.cache_control
        if request.content_disposition:
            attributes["Content-Disposition"] = request.content_disposition
        if request.storage_class:
            attributes["Storage-Class"] = request.storage_class
        tags = dict(request.tags) if request.tags else None
        generation = self._credentials.generation
        store = self._store(request.bucket, size_class(len(request.body)), generation)
        check()
        try:
            obstore.put(store, request.key, request.body, attributes=attributes, tags=tags, use_multipart=False)
        except BaseException as error:  # noqa: BLE001 - a panic is none other; `_fault` raises what is not obstore's
            fault = self._fault(error, request.key, generation)
        else:
            return
        # Outside of the handler: obstore's text quotes all of S3's answer, and with it the signature.
        raise fault

    def _fault(self, error: BaseException, key: str, generation: int) -> StoreFault:
        """Of what came out of obstore; raises what did not."""
        if not isinstance(error, (BaseError, OSError, ValueError)) and type(error).__name__ != _PANIC:
            raise error
        fault = from_obstore(error, key)
        if fault.code in faults.STALE_CREDENTIALS:
            self._credentials.drop(generation)
        return fault

    def delete_many(self, bucket: str, keys: Sequence[str], check: Check) -> dict[str, StoreFault]:
        return self._boto.delete_many(bucket, keys, check)

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        if not _is_plain(bucket, key):
            return self._boto.head(bucket, key)
        generation = self._credentials.generation
        store = self._store(bucket, size_class(0), generation)
        try:
            found = obstore.get(store, key, options={"head": True})
        except FileNotFoundError:
            return None
        except BaseException as error:  # noqa: BLE001 - a panic is none other; `_fault` raises what is not obstore's
            fault = self._fault(error, key, generation)
        else:
            info = _info(found)
            if info.etag:
                return info
            fault = faults.fault(faults.UNREADABLE_RESPONSE, 200, "the answer to a look came without an ETag")
        if fault.code in (faults.ENGINE_ERROR, faults.UNREADABLE_RESPONSE):
            return self._boto.head(bucket, key)  # somebody else's object may have headers that obstore does not take
        raise fault

    def get(self, bucket: str, key: str) -> tuple[ObjectInfo, bytes] | None:
        return self._boto.get(bucket, key)

    def close(self) -> None:
        self._stores = {}
        self._boto.close()

    def _store(self, bucket: str, size_class: int, generation: int) -> S3Store:
        """A store whose credentials are of ``generation`` and fresh, so that the put itself never waits
        for boto3's chain: that wait would lie between the lease's check and the request."""
        try:
            self._credentials.current()
        except BOTO_ERRORS as error:
            raise from_boto(error) from None
        if generation != self._generation:
            self._stores, self._generation = {}, generation
        found = self._stores.get((bucket, size_class))
        if found is not None:
            return found
        with self._making:
            if len(self._stores) >= MAX_STORES:
                self._stores = {}
            # Who replaces the dictionary meanwhile leaves this one alone; at worst a store is made twice.
            stores = self._stores
            if (bucket, size_class) not in stores:
                stores[bucket, size_class] = self._make_store(bucket, size_class)
            return stores[bucket, size_class]

    def _make_store(self, bucket: str, size_class: int) -> S3Store:
        # Endpoint, region and addressing come from botocore, so that both engines go to the same place.
        url = self._boto.locate(bucket).rstrip("/")
        path_style = urlsplit(url).path.endswith(f"/{bucket}")
        endpoint = url.removesuffix(f"/{bucket}") if path_style else url
        config: S3Config = {
            # obstore reads AWS_… variables of its own: what boto3 does not know must not divide the two.
            "aws_endpoint_url_s3": endpoint,
            "endpoint": endpoint,
            "region": self._boto.region,
            "virtual_hosted_style_request": not path_style,
            "checksum_algorithm": "SHA256",
            "unsigned_payload": False,
            "skip_signature": False,
            "disable_tagging": False,
            "s3_express": False,
        }
        if self._config.sse:
            config["server_side_encryption"] = self._config.sse
        if self._config.kms_key_id:
            config["sse_kms_key_id"] = self._config.kms_key_id
        client: ClientConfig = {
            "allow_http": endpoint.startswith("http:"),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=request_seconds(self._config, size_class)),
        }
        if self._config.expected_owner:
            client["default_headers"] = {"x-amz-expected-bucket-owner": self._config.expected_owner}
        try:
            authorities = _certificate_authorities()
            if authorities:
                client["root_certificate"] = Path(authorities).read_bytes()
            return S3Store(
                bucket,
                config=config,
                client_options=client,
                retry_config={"max_retries": 0},
                credential_provider=self._credentials.for_obstore,
            )
        except BOTO_ERRORS as error:  # boto3's own file of settings
            raise from_boto(error) from None
        except (BaseError, OSError, ValueError) as error:
            # Nothing here depends on a write. No text of the engine's, as in `from_obstore`.
            text = f"no client of S3 can be made: {type(error).__name__}: is AWS_CA_BUNDLE right?"
            raise faults.fault(faults.INVALID_SETTING, None, text) from None


def _is_plain(bucket: str, key: str) -> bool:
    return _PLAIN_KEY.match(key) is not None and _PLAIN_BUCKET.match(bucket) is not None


def _info(found: obstore.GetResult) -> ObjectInfo:
    """obstore writes the names of headers with capitals, those of user metadata without."""
    attributes = {str(name): str(value) for name, value in found.attributes.items()}
    return ObjectInfo(
        size=found.meta["size"],
        etag=found.meta["e_tag"] or "",
        metadata={name: value for name, value in attributes.items() if name == name.lower()},
        content_encoding=attributes.get("Content-Encoding"),
        content_type=attributes.get("Content-Type"),
    )


def _certificate_authorities() -> str | None:
    """The file that boto3 would verify S3's certificate with, if one is set."""
    configured: str | None = botocore.session.get_session().get_config_variable("ca_bundle")
    return configured or os.environ.get("REQUESTS_CA_BUNDLE")
