"""Checks of settings that are each allowed and do not go well together."""

from __future__ import annotations

import math

from penstock.errors import InvalidSetting
from penstock_worker.doctor.base import Check, Finding, ok, skipped, warning
from penstock_worker.doctor.site import Site
from penstock_worker.stores.limits import request_seconds, size_class


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
    longest = request_seconds(settings.store_config(), size_class(settings.max_body_bytes))
    found = f"a stop waits {settings.stop_timeout:g} s, the largest body's request up to {longest:g} s"
    if settings.stop_timeout < longest:
        return warning(
            f"{found}: a stop gives up requests that would still end, and those writes are sent twice",
            f"raise PENSTOCK_STOP_TIMEOUT to {math.ceil(longest)}, or lower PENSTOCK_MAX_BODY_BYTES",
        )
    return ok(found)


def exposure(site: Site) -> Finding:
    host = site.settings.sidecar_host
    if host in ("127.0.0.1", "::1", "localhost"):
        return ok(f"the sidecar is for this host only ({host})")
    return ok(f"the sidecar listens on {host}; it has no login, so keep the port inside your network")


def encryption(site: Site) -> Finding:
    try:
        endpoint = site.endpoint
    except InvalidSetting:
        return skipped("no client of S3")  # the check of credentials tells why
    if not endpoint.startswith("http://"):
        return ok("S3 is spoken to by HTTPS")
    if any(host in endpoint for host in ("://127.0.0.1", "://localhost", "://[::1]")):
        return skipped("S3 is on this host")
    return warning(f"S3's endpoint is {endpoint}: bodies cross the network in clear", "use https://")


SETTINGS_CHECKS = (
    Check("settings buckets", buckets),
    Check("settings stop", stop_time),
    Check("settings sidecar", exposure),
    Check("settings encryption", encryption),
)
