"""Credentials for both engines from boto3's chain, looked up anew at least every minute.

botocore reads the environment, profiles and credential processes without an expiry once and never again; it
refreshes roles, SSO and instance credentials by itself. Here the first kind is read again every minute, so
that a rotated key needs no restart, and both kinds at once after S3 has called a credential stale.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import ClientError, CredentialRetrievalError, NoCredentialsError

from penstock_worker.stores.base import LOOK_UP_SECONDS, ErrorClass
from penstock_worker.stores.boto_faults import BOTO_ERRORS, from_boto

if TYPE_CHECKING:
    from obstore.store import S3Credential

REFRESH_SECONDS = 60.0
"""How old credentials may be before the chain is asked again (section 8 of the design)."""
EXPIRING_SECONDS = 5.0
"""The same for credentials that end within `REFRESH_SECONDS`, whose next ones may be there at any time."""
HELD_SECONDS = 3.0
"""How long callers wait for the chain while what is held has not ended; else up to `LOOK_UP_SECONDS`."""


@dataclass(frozen=True, slots=True)
class _Held:
    value: ReadOnlyCredentials
    fresh_until: float  # by the source's clock
    expires_at: datetime  # the same moment for obstore, by the wall clock


class CredentialSource:
    """The credentials in use. Safe to share between threads.

    ``generation`` grows with every `drop`: who holds clients made of credentials compares it. ``clock`` gives
    seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.generation = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._chain: Credentials | None = None
        self._held: _Held | None = None
        self._look: _Look | None = None

    def current(self) -> ReadOnlyCredentials:
        """Credentials that were looked up at most `REFRESH_SECONDS` ago.

        May wait for the chain (a role, SSO, a process) up to `LOOK_UP_SECONDS`, so call it before the lease is checked;
        while a look-up takes longer, credentials that have not ended are older. Raises
        botocore's `NoCredentialsError` when there are none, and others of `BOTO_ERRORS` when they are not to be had:
        all are environment faults.
        """
        return self._current().value

    def for_obstore(self) -> S3Credential:
        """The same in obstore's form: a credential provider to hand to a store."""
        held = self._current()
        return {
            "access_key_id": held.value.access_key or "",  # never empty: _look_up saw to it
            "secret_access_key": held.value.secret_key or "",
            "token": held.value.token,
            "expires_at": held.expires_at,
        }

    def drop(self, generation: int) -> None:
        """Forget what was cached, unless that happened since the caller read ``generation``.

        A batch that fails as a whole thereby asks the chain once, not once a write.
        """
        with self._lock:
            if generation == self.generation:
                self.generation += 1
                self._chain = None
                self._held = None

    def session(self) -> boto3.Session:
        """A session whose clients take their credentials from here, for each signature anew."""
        session = botocore.session.get_session()
        session.register_component("credential_provider", _Resolver(self))
        return boto3.Session(botocore_session=session)

    def _current(self) -> _Held:
        # The way of every request: no lock.
        held = self._held
        if held is not None and self._clock() < held.fresh_until:
            return held
        with self._lock:
            held = self._held
            if held is not None and self._clock() < held.fresh_until:
                return held
            look = self._look
            if look is None:
                look = _Look(self.generation, self._chain)
                # A thread, since nothing else ends a wait for a process; one, so that those which hang do not pile up.
                thread = threading.Thread(target=self._run, args=(look,), name="penstock-credentials", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # a limit of threads: it says nothing about the write
                    raise _refused(error) from error
                self._look = look
        try:
            held = look.answer.result(min(HELD_SECONDS, look.left()))
        except TimeoutError:
            on_hold = self._hold_on()
            if on_hold is not None:
                return on_hold
            try:
                held = look.answer.result(look.left())
            except TimeoutError as error:
                raise _refused(error) from error
        # What was looked up before a drop may be what was dropped.
        return held if look.generation == self.generation else self._current()

    def _run(self, look: _Look) -> None:
        found: tuple[Credentials, _Held] | None = None
        refused: Exception | None = None
        try:
            found = self._look_up(look.chain)
        except ClientError as error:
            # What STS or SSO says, with codes and statuses of theirs: from S3 they would say something of the object.
            refused = _refused(error)
        except BOTO_ERRORS as error:
            # That they are not reached says nothing of S3 either.
            refused = error if from_boto(error).error_class is ErrorClass.ENVIRONMENT else _refused(error)
        except BaseException as error:  # noqa: BLE001 - nobody sees this thread end, and those who wait must
            # Providers let out what they meet: a process that is not there, a token file, an answer that is no JSON.
            refused = _refused(error)
        with self._lock:
            self._look = None
            if isinstance(refused, CredentialRetrievalError) and look.generation == self.generation:
                # The next look begins anew. Only this chain knows when what is held ends, so that goes with it.
                self._chain = self._held = None
            if found is not None and look.generation == self.generation:
                self._chain, self._held = found
        if found is not None:
            look.answer.set_result(found[1])
        else:
            look.answer.set_exception(refused)

    def _look_up(self, chain: Credentials | None) -> tuple[Credentials, _Held]:
        if not isinstance(chain, RefreshableCredentials):
            # A session caches what it found, so a new look takes a new one.
            chain = botocore.session.get_session().get_credentials()
        value = None if chain is None else chain.get_frozen_credentials()
        if chain is None or value is None or not (value.access_key and value.secret_key):
            raise NoCredentialsError
        is_ending = isinstance(chain, RefreshableCredentials) and chain.refresh_needed(int(REFRESH_SECONDS))
        return chain, self._hold(value, EXPIRING_SECONDS if is_ending else REFRESH_SECONDS)

    def _hold_on(self) -> _Held | None:
        """What was held, for a moment more while a look-up hangs; None when nothing was, or it ends."""
        with self._lock:
            chain, held = self._chain, self._held
            is_ending = isinstance(chain, RefreshableCredentials) and chain.refresh_needed(int(EXPIRING_SECONDS))
            if held is None or is_ending:
                return None
            if self._clock() >= held.fresh_until:
                self._held = held = self._hold(held.value, EXPIRING_SECONDS)
            return held

    def _hold(self, value: ReadOnlyCredentials, seconds: float) -> _Held:
        return _Held(value, self._clock() + seconds, datetime.now(UTC) + timedelta(seconds=seconds))


class _Look:
    """One look-up under way, which all who want credentials wait for together."""

    def __init__(self, generation: int, chain: Credentials | None) -> None:
        self.generation = generation
        self.chain = chain
        self.until = time.monotonic() + LOOK_UP_SECONDS
        self.answer: Future[_Held] = Future()

    def left(self) -> float:
        """Seconds that callers still wait for it."""
        return max(0.0, self.until - time.monotonic())


def _refused(error: BaseException) -> CredentialRetrievalError:
    """In the form that callers know; no text of the error's, which may quote secrets."""
    refused = CredentialRetrievalError(provider="boto3", error_msg=type(error).__name__)
    refused.__cause__ = error
    return refused


class _SourceCredentials(Credentials):
    """What botocore's signer sees: it asks for frozen credentials once a signature."""

    def __init__(self, source: CredentialSource) -> None:
        super().__init__(access_key="", secret_key="", method="penstock")
        self._source = source

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self._source.current()


class _Resolver:
    """In the place of botocore's chain in a session."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    def load_credentials(self) -> Credentials:
        return _SourceCredentials(self._source)
