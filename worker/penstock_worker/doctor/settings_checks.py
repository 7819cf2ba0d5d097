"""Checks of settings that are each allowed and do not go well together."""

from __future__ import annotations

from penstock_worker.doctor.base import Check, Finding, ok, skipped, warning
from penstock_worker.doctor.site import Site


def buckets(site: Site) -> Finding:
    settings = site.settings
    allowed = settings.buckets()
    if allowed is None:
        return ok("any bucket that a write names")
    if settings.bucket is not None and not settings.allows(settings.bucket):
        return warning(
            f"PENSTOCK_BUCKET={settings.bucket} is not in PENSTOCK_ALLOWED_BUCKETS: its writes wait for ever",
            "add it to PENSTOCK_ALLOWED_BUCKETS",
        )
    return ok(f"{', '.join(sorted(allowed)) or 'none'} allowed")


def stop_time(site: Site) -> Finding:
    settings = site.settings
    found = f"a stop waits {settings.stop_timeout:g} s, a request {settings.request_timeout:g} s"
    if settings.stop_timeout < settings.request_timeout:
        return warning(
            f"{found}: a stop gives up requests that would still end, and those writes are sent twice",
            "raise PENSTOCK_STOP_TIMEOUT above PENSTOCK_REQUEST_TIMEOUT",
        )
    return ok(found)


def exposure(site: Site) -> Finding:
    host = site.settings.sidecar_host
    if host in ("127.0.0.1", "::1", "localhost"):
        return ok(f"the sidecar is for this host only ({host})")
    return ok(f"the sidecar listens on {host}; it has no login, so keep the port inside your network")


def encryption(site: Site) -> Finding:
    endpoint = site.settings.s3_endpoint_url
    if endpoint is None or not endpoint.startswith("http://"):
        return ok("S3 is spoken to by HTTPS")
    if any(host in endpoint for host in ("://127.0.0.1", "://localhost", "://[::1]")):
        return skipped("S3 is on this host")
    return warning("PENSTOCK_S3_ENDPOINT_URL is http://: bodies cross the network in clear", "use https://")


SETTINGS_CHECKS = (
    Check("settings buckets", buckets),
    Check("settings stop", stop_time),
    Check("settings sidecar", exposure),
    Check("settings encryption", encryption),
)
