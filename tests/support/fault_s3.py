"""An S3 over HTTP whose faults are switched on and off at run time, and that remembers what landed when.

The objects and the wire are `memory_s3`'s. Here are faults with a rate and a place (bucket, key, method, worker), and
the history of each object, which `oracle` judges.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from tests.support import memory_s3
from tests.support.memory_s3 import Gate, MemoryS3, Request, Stored, Trouble

Name = tuple[str, str]
"""Bucket and key."""

TOO_OLD = "signature too old"
"""The kind under which refusals by a signature's date are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, with which requests, and how often. A place that is None is any.

    A fault that only refuses hits single keys of a bulk delete when ``prefix`` names some; all else hits it whole.
    """

    kind: str
    trouble: Trouble
    rate: float = 1.0
    above: float | None = None
    """Only of requests beyond so many a second."""
    bucket: str | None = None
    prefix: str | None = None
    method: str | None = None
    access_key: str | None = None
    """The worker: each is started with an access key of its own."""
    tagged: bool = False
    """Only requests that set tags."""
    jitter: float = 0.0
    """Seconds, of which a random share is added to ``trouble.early``."""

    def meant(self, request: Request) -> bool:
        by_key = self.prefix is not None and self.trouble.status >= 300
        if request.part is not by_key and (request.part or request.method == "POST"):
            return False
        keys = request.keys or (request.key,)
        return (
            self.bucket in (None, request.bucket)
            and (self.prefix is None or any(key.startswith(self.prefix) for key in keys))
            and self.method in (None, request.method)
            and self.access_key in (None, access_key(request.headers))
            and (not self.tagged or "x-amz-tagging" in request.headers)
        )


def refusal(status: int, code: str, **where: Any) -> Fault:
    """An error, and nothing is applied."""
    return Fault(kind=code, trouble=memory_s3.error(status, code), **where)


def reset_before(**where: Any) -> Fault:
    return Fault(kind="reset before", trouble=memory_s3.RESET, **where)


def reset_after(**where: Any) -> Fault:
    return Fault(kind="reset after", trouble=Trouble(applied=True), **where)


def cut_answer(**where: Any) -> Fault:
    return Fault(kind="cut answer", trouble=Trouble(status=200, applied=True, cut=True), **where)


def error_after(**where: Any) -> Fault:
    """S3 says 500, and has stored it."""
    return Fault(kind="error after", trouble=Trouble(500, "InternalError", applied=True), **where)


def late_answer(seconds: float, **where: Any) -> Fault:
    """Applied at once, and told after ``seconds``."""
    return Fault(kind="late answer", trouble=memory_s3.slow(seconds), **where)


def latency(seconds: float, **where: Any) -> Fault:
    """Applied, and told, after up to twice ``seconds``."""
    return Fault(kind="latency", trouble=Trouble(status=200, applied=True), jitter=2 * seconds, **where)


def lands_late(seconds: float, jitter: float = 0.0, **where: Any) -> Fault:
    """Applied after ``seconds`` and up to ``jitter`` more, when the client has long given it up."""
    return Fault(kind="landed late", trouble=Trouble(status=200, applied=True, early=seconds), jitter=jitter, **where)


def held(gate: Gate, **where: Any) -> Fault:
    """Applied once the gate is open, when the client has long given it up."""
    return Fault(kind="held", trouble=Trouble(status=200, applied=True, gate=gate), **where)


@dataclass(frozen=True, slots=True)
class Version:
    """A write that landed. Times are those of ``time.time``; ``sha256`` is None for a delete, which has no number."""

    at: float
    seq: int | None
    sha256: str | None
    by: str


@dataclass(slots=True)
class _Active:
    fault: Fault
    hits: int = 0
    allowance: float = 1.0
    refilled: float = field(default_factory=time.monotonic)

    def strikes(self, dice: random.Random) -> bool:
        if self.fault.above is not None:
            now = time.monotonic()
            # At most a tenth of a second's worth is saved up: a store's limit is no daily allowance.
            most = max(1.0, self.fault.above / 10)
            self.allowance = min(most, self.allowance + (now - self.refilled) * self.fault.above)
            self.refilled = now
            if self.allowance >= 1.0:
                self.allowance -= 1.0
                return False
        if self.fault.rate < 1.0 and dice.random() >= self.fault.rate:
            return False
        self.hits += 1
        return True


class FaultS3:
    """Every bucket exists, and nothing goes wrong, until a fault says otherwise. Safe to use from any thread.

    ``signature_window``: seconds after which a request is refused, by its ``x-amz-date`` when it would be applied (S3's
    own: 900); None asks nothing. ``counts`` has the faults by kind.
    """

    def __init__(self, seed: int = 0) -> None:
        self._dice = random.Random(seed)
        self._active: tuple[_Active, ...] = ()
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.signature_window: float | None = None
        self.history: dict[Name, list[Version]] = {}
        self.landed = 0
        self._server = MemoryS3(admit=self._admit, landed=self._landed, record=False)
        self._server.judge = self._judge
        self.endpoint_url = self._server.endpoint_url

    @property
    def objects(self) -> Mapping[Name, Stored]:
        return self._server.objects

    def gate(self) -> Gate:
        return self._server.gate()

    # -- faults -------------------------------------------------------------------------------------------------

    def start(self, *faults: Fault) -> None:
        with self._lock:
            self._active += tuple(_Active(one) for one in faults)

    def end(self, *faults: Fault) -> None:
        """Ends these, or all when none is named."""
        with self._lock:
            self._active = tuple(one for one in self._active if faults and one.fault not in faults)

    @contextmanager
    def broken(self, *faults: Fault) -> Iterator[None]:
        """These faults, inside the context."""
        self.start(*faults)
        try:
            yield
        finally:
            self.end(*faults)

    def hits(self, kind: str) -> int:
        """How often a fault of this kind has struck."""
        return self.counts[kind]

    def _judge(self, request: Request) -> Trouble | None:
        for one in self._active:
            if one.fault.meant(request) and one.strikes(self._dice):
                self.counts[one.fault.kind] += 1
                trouble = one.fault.trouble
                if one.fault.jitter:
                    trouble = replace(trouble, early=trouble.early + self._dice.uniform(0, one.fault.jitter))
                return trouble
        return None

    def _admit(self, request: Request) -> Trouble | None:
        window = self.signature_window
        if window is None:
            return None
        signed = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(time.time() - signed.timestamp()) <= window:
            return None
        self.counts[TOO_OLD] += 1
        return memory_s3.error(403, "RequestTimeTooSkewed")

    # -- history ------------------------------------------------------------------------------------------------

    def _landed(self, request: Request) -> None:
        seq, sha256 = None, None
        if request.method == "PUT":
            seq, sha256 = request.seq, request.headers["x-amz-meta-penstock-sha256"]
        version = Version(time.time(), seq, sha256, access_key(request.headers))
        self.history.setdefault((request.bucket, request.key), []).append(version)
        self.landed += 1

    def versions(self, key: str, bucket: str) -> list[Version]:
        """What landed of an object, in that order."""
        return list(self.history.get((bucket, key), ()))

    def forget_history(self) -> None:
        self.history = {}

    # -- life ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def access_key(headers: Mapping[str, str]) -> str:
    """The access key id that a request is signed with; empty without a signature."""
    return headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]
