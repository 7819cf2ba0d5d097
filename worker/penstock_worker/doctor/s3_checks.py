"""Checks of S3: credentials, the bucket, every permission a worker needs by using it, clocks, housekeeping."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from penstock_worker.doctor.base import Check, Finding, Status, broken, ok, skipped, warning
from penstock_worker.doctor.site import Site, SkippedError
from penstock_worker.stores import ErrorClass, PutRequest, StoreFault
from penstock_worker.stores.bucket import BucketAnswer, days_until_uploads_are_aborted, head_bucket, object_tags
from penstock_worker.stores.faults import CONNECT_FAILED, TIMEOUT

TAGS = {"penstock-doctor": "scratch"}
SKEW_TO_MIND = 60.0
SKEW_REFUSED = 900.0
"""Seconds: S3 refuses a signature whose date is 15 minutes off."""

_NO_SUCH_BUCKET = 404
_DENIED_STATUS = frozenset({401, 403})
_DENIED_CODES = frozenset({"AccessDenied", "Forbidden"})
_REMEDIES = {
    "NoSuchBucket": "create the bucket, or correct PENSTOCK_BUCKET",
    "RequestTimeTooSkewed": "set this host's clock by NTP",
    "PermanentRedirect": "set PENSTOCK_S3_REGION to the bucket's region",
    "AuthorizationHeaderMalformed": "set PENSTOCK_S3_REGION to the bucket's region",
    "SignatureDoesNotMatch": "correct the secret key",
    "InvalidAccessKeyId": "give credentials that this S3 knows",
    "ExpiredToken": "renew the credentials",
    CONNECT_FAILED: "check the network, and PENSTOCK_S3_ENDPOINT_URL",
    TIMEOUT: "check the network, and PENSTOCK_S3_ENDPOINT_URL",
}


def credentials(site: Site) -> Finding:
    site.bucket()
    site.no_s3 = "no client of S3"
    chain = site.boto.credentials
    site.no_s3 = "no credentials"
    try:
        found = chain.current()
    except Exception as error:  # noqa: BLE001 - the chain raises what its providers raise; the type must do
        remedy = "give credentials in one of boto3's places: environment, profile, instance or pod role"
        return broken(f"boto3's chain found none ({type(error.__cause__ or error).__name__})", remedy)
    site.no_s3 = None
    return ok(f"access key …{(found.access_key or '')[-4:]}" + (", temporary" if found.token else ""))


def bucket(site: Site) -> Finding:
    name = site.bucket()
    site.no_s3 = "S3 is not reached"
    try:
        answer = head_bucket(site.boto, name)
    except StoreFault as fault:
        return _refused(fault, "check the network, and PENSTOCK_S3_ENDPOINT_URL")
    site.head, site.no_s3 = answer, None
    where = site.endpoint
    if answer.fault is None:
        return ok(f"{name} at {where}")
    if answer.fault.http_status == _NO_SUCH_BUCKET:
        site.no_s3 = "the bucket does not exist"
        return broken(f"{name} at {where} does not exist", "create the bucket, or correct PENSTOCK_BUCKET")
    if _is_denied(answer.fault):
        return ok(f"{where} answers, and refuses HeadBucket; the checks below say what is allowed")
    return _refused(answer.fault, "see what S3 says")


def region(site: Site) -> Finding:
    theirs, ours = _head(site).region, site.boto.region
    if theirs is None:
        return skipped("this S3 does not tell a bucket's region")
    if theirs != ours:
        return broken(f"the bucket is in {theirs}, requests go to {ours}", f"set PENSTOCK_S3_REGION={theirs}")
    return ok(theirs)


def clock(site: Site) -> Finding:
    date = _head(site).date
    if date is None:
        return skipped("S3's answer had no date")
    skew = (datetime.now(UTC) - date).total_seconds()
    found = f"this host is {skew:+.0f} s from S3"  # its date is in whole seconds, and checks lie between
    if abs(skew) >= SKEW_REFUSED:
        return broken(f"{found}, which refuses signatures 900 s off", "set this host's clock by NTP")
    return warning(found, "set this host's clock by NTP") if abs(skew) > SKEW_TO_MIND else ok(found)


def put(site: Site) -> Finding:
    return _put(site, {}, "s3:PutObject")


def put_with_tags(site: Site) -> Finding:
    finding = _put(site, TAGS, "s3:PutObjectTagging, without which writes with tags wait for ever")
    site.tagged = finding.status is Status.OK
    return finding


def get(site: Site) -> Finding:
    name, body = site.bucket(), _stored(site)

    def read() -> Finding:
        found = site.store.get(name, site.scratch_key)
        if found is None:
            return broken("the object that was just put is not there", "is this S3 strongly consistent?")
        info, stored = found
        if stored != body:
            return broken("the object came back with other bytes", "look for a proxy that changes what passes it")
        if info.metadata.get("penstock-sha256") != hashlib.sha256(body).hexdigest():
            return broken("the object came back without its metadata", "look for a proxy that drops headers")
        return ok("the object came back with its bytes and metadata")

    return _allowed(read, "s3:GetObject")


def tags(site: Site) -> Finding:
    name = site.bucket()
    if not site.tagged:
        raise SkippedError("nothing could be put with tags")
    try:
        found = object_tags(site.boto, name, site.scratch_key)
    except StoreFault as fault:
        if _is_denied(fault):
            return skipped("s3:GetObjectTagging is not allowed; a worker does not need it")
        return _refused(fault, "see what S3 says")
    if found == TAGS:
        return ok("the tags came back")
    return warning("the tags did not come back", "this S3 drops tags: lifecycle rules by tag will not work")


def list_bucket(site: Site) -> Finding:
    name = site.bucket()
    try:
        site.store.head(name, f"{site.scratch_key}-missing")
    except StoreFault as fault:
        if _is_denied(fault):
            return warning("a missing object answers 403 instead of 404", f"allow s3:ListBucket on {name}")
        return _refused(fault, "see what S3 says")
    return ok("a missing object answers 404")


def delete(site: Site) -> Finding:
    """Also tidies up: it is tried whatever became of the PUTs."""
    name, key = site.bucket(), site.scratch_key

    def remove() -> Finding:
        fault = site.store.delete_many(name, [key], _no_lease).get(key)
        if fault is not None:
            raise fault
        if site.stored is not None and site.store.head(name, key) is not None:
            return broken("a deleted object is still there", "is this S3 strongly consistent?")
        return ok("the scratch object is gone")

    return _allowed(remove, "s3:DeleteObject", left=key if site.stored is not None else None)


def lifecycle(site: Site) -> Finding:
    name = site.bucket()
    try:
        days = days_until_uploads_are_aborted(site.boto, name)
    except StoreFault as fault:
        if _is_denied(fault):
            return skipped("s3:GetLifecycleConfiguration is not allowed; a worker does not need it")
        if fault.error_class is ErrorClass.ENVIRONMENT:
            return skipped(f"this S3 does not say: {fault.code}")
        return _refused(fault, "see what S3 says")
    if days is None:
        return warning(
            "no rule ends unfinished multipart uploads: what others leave behind is paid for and not seen",
            "add a lifecycle rule with AbortIncompleteMultipartUpload after 7 days (Penstock itself makes none)",
        )
    return ok(f"unfinished multipart uploads end after {days} day{'s' if days != 1 else ''}")


def _put(site: Site, with_tags: dict[str, str], permission: str) -> Finding:
    name, body = site.bucket(), b"written by penstock doctor; may be deleted\n"
    metadata = {"penstock-sha256": hashlib.sha256(body).hexdigest()}
    request = PutRequest(name, site.scratch_key, body, content_type="text/plain", tags=with_tags, metadata=metadata)

    def store() -> Finding:
        site.store.put(request, _no_lease)
        site.stored = body
        return ok(f"{site.settings.s3_engine} put {site.scratch_key}")

    return _allowed(store, permission)


def _allowed(action: Callable[[], Finding], permission: str, left: str | None = None) -> Finding:
    """The action's finding; a refusal names the permission, and what is ``left`` behind."""
    try:
        return action()
    except StoreFault as fault:
        behind = f"; delete {left} by hand" if left else ""
        if _is_denied(fault):
            return broken(str(fault), f"allow {permission}{behind}")
        return _refused(fault, f"see what S3 says{behind}")


def _is_denied(fault: StoreFault) -> bool:
    """Whether a permission lacks, and not the login. DeleteObjects says so inside an answer with status 200."""
    return fault.code in _DENIED_CODES or (fault.http_status in _DENIED_STATUS and fault.code not in _REMEDIES)


def _refused(fault: StoreFault, otherwise: str) -> Finding:
    return broken(str(fault), _REMEDIES.get(fault.code, otherwise))


def _head(site: Site) -> BucketAnswer:
    site.bucket()
    if site.head is None:
        raise SkippedError("HeadBucket was not answered")
    return site.head


def _stored(site: Site) -> bytes:
    if site.stored is None:
        raise SkippedError("nothing could be put")
    return site.stored


def _no_lease() -> None:
    """The scratch object is nobody's claim."""


S3_CHECKS = (
    Check("s3 credentials", credentials),
    Check("s3 bucket", bucket),
    Check("s3 region", region),
    Check("s3 clock", clock),
    Check("s3 put", put),
    Check("s3 put with tags", put_with_tags),
    Check("s3 get", get),
    Check("s3 tags", tags),
    Check("s3 list", list_bucket),
    Check("s3 delete", delete),
    Check("s3 lifecycle", lifecycle),
)
