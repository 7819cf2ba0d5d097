"""What a check is and how all of them are run: each bounded in time, none able to stop the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

import redis

from penstock.errors import InvalidSetting
from penstock.queue.connection import translate
from penstock_worker.doctor.site import Site, SkippedError
from penstock_worker.stores import StoreFault

CHECK_SECONDS = 20.0
"""What one check may take: several requests with time limits of their own, and a name server that does not answer."""


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. ``remedy`` is empty when there is nothing to do."""

    status: Status
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    return Finding(Status.OK, found)


def warning(found: str, remedy: str) -> Finding:
    return Finding(Status.WARNING, found, remedy)


def broken(found: str, remedy: str) -> Finding:
    return Finding(Status.BROKEN, found, remedy)


def skipped(reason: str, remedy: str = "") -> Finding:
    return Finding(Status.SKIPPED, reason, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """``run`` may raise what Redis and S3 raise, and SkippedError: it is turned into a finding."""

    name: str
    run: Callable[[Site], Finding]


@dataclass(frozen=True, slots=True)
class Result:
    check: str
    status: Status
    found: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


def run_checks(checks: Iterable[Check], site: Site, limit: float = CHECK_SECONDS) -> Iterator[Result]:
    """One result a check, in their order, as they come; each within ``limit`` seconds."""
    for check in checks:
        finding = _within(limit, check, site)
        yield Result(check.name, finding.status, finding.found, finding.remedy)


def _within(limit: float, check: Check, site: Site) -> Finding:
    findings: list[Finding] = []
    # A thread of its own, since a look-up of a name cannot be given a time limit; it ends with the process.
    thread = threading.Thread(
        target=lambda: findings.append(_run(check, site)), name=f"check {check.name}", daemon=True
    )
    thread.start()
    thread.join(limit)
    return findings[0] if findings else broken(f"no result within {limit:g} s", "look for a network that drops packets")


def _run(check: Check, site: Site) -> Finding:
    try:
        return check.run(site)
    except InvalidSetting as error:
        return broken(str(error), "correct the setting")
    except SkippedError as reason:
        return skipped(str(reason))
    except redis.exceptions.RedisError as error:
        url = site.settings.redis_url
        return broken(str(translate(error, url, maybe_accepted=False)), "see what Redis says; its log may say more")
    except StoreFault as fault:
        return broken(str(fault), "see what S3 says")
    except Exception as error:  # noqa: BLE001 - told as it is: a bug in one check must not hide what the others find
        return broken(f"the check itself failed: {type(error).__name__}: {error}", "report this as a bug of Penstock")
