"""What sync and async producers share: settings, defaults, packing of writes, and what answers mean."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from redis.exceptions import ResponseError

from penstock.errors import InvalidSetting, InvalidWrite, NotDurable, PenstockError, QueueUnavailable
from penstock.packing import Checked, pack
from penstock.queue.commit import Group
from penstock.queue.connection import translate
from penstock.queue.durability import MEMORY, Durability
from penstock.queue.enqueue import Accepted, EnqueueCodec, Prepared, decode_answer
from penstock.queue.names import PRIORITIES, split_name
from penstock.settings import MAX_BODY_BYTES, MAX_TIMEOUT, ProducerSettings, load_settings
from penstock.values import DEFAULT_SPOOL_MAX_BYTES, Receipt, Write
from penstock.write import check_bucket, check_fields, prepare_delete

_QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Options:
    """A producer's settings, checked."""

    url: str
    queue: str
    bucket: str | None
    timeout: float
    max_body_bytes: int
    prefixes: tuple[tuple[str, str], ...]
    durability: Durability = MEMORY
    spool: str | None = None
    spool_max_bytes: int = DEFAULT_SPOOL_MAX_BYTES

    @classmethod
    def make(
        cls,
        url: object,
        queue: object,
        bucket: object,
        timeout: object,
        max_body_bytes: object,
        priorities: object,
        durability: object,
        spool: object = None,
        spool_max_bytes: object = DEFAULT_SPOOL_MAX_BYTES,
    ) -> Options:
        """Checks at run time what type checkers may not have seen. Raises InvalidSetting."""
        if not isinstance(url, str):
            raise InvalidSetting(f"url (PENSTOCK_REDIS_URL) must be a str, not {type(url).__name__}")
        if not isinstance(queue, str) or not _QUEUE_NAME.fullmatch(queue):
            raise InvalidSetting(
                f"queue (PENSTOCK_QUEUE)={queue!r}: 1 to 64 letters, digits, hyphens, dots and underscores"
            )
        try:
            checked_bucket = None if bucket is None else check_bucket(bucket)
        except InvalidWrite as error:
            raise InvalidSetting(f"bucket (PENSTOCK_BUCKET): {error}") from None
        if not is_number(timeout) or not 0 < timeout <= MAX_TIMEOUT:
            raise InvalidSetting(
                f"timeout (PENSTOCK_PRODUCER_TIMEOUT)={timeout!r}: seconds, more than 0 and at most {MAX_TIMEOUT:g}"
            )
        if not is_number(max_body_bytes) or not 0 < max_body_bytes <= MAX_BODY_BYTES:
            raise InvalidSetting(
                f"max_body_bytes (PENSTOCK_MAX_BODY_BYTES)={max_body_bytes!r}: 1 to {MAX_BODY_BYTES:,} bytes"
            )
        if spool is not None and (not isinstance(spool, str) or not spool):
            raise InvalidSetting(f"spool (PENSTOCK_SPOOL)={spool!r}: the path of a directory")
        if not is_number(spool_max_bytes) or spool_max_bytes <= 0:
            raise InvalidSetting(f"spool_max_bytes (PENSTOCK_SPOOL_MAX_BYTES)={spool_max_bytes!r}: bytes, more than 0")
        return cls(
            url, queue, checked_bucket, float(timeout), int(max_body_bytes), _prefixes(priorities),
            Durability.parse(durability), spool, int(spool_max_bytes),
        )  # fmt: skip

    @classmethod
    def from_env(cls, priorities: object) -> Options:
        settings = load_settings(ProducerSettings)
        return cls.make(
            settings.redis_url, settings.queue, settings.bucket, settings.producer_timeout, settings.max_body_bytes,
            priorities, settings.durability, settings.spool, settings.spool_max_bytes,
        )  # fmt: skip

    def bucket_for(self, given: str | None) -> str:
        bucket = given if given is not None else self.bucket
        if bucket is None:
            raise InvalidWrite("no bucket: give put() one, or the producer (bucket=… or PENSTOCK_BUCKET)")
        return bucket

    def priority_for(self, key: object, given: str | None) -> str:
        if given is not None:
            return given
        if self.prefixes and isinstance(key, str):
            for prefix, priority in self.prefixes:
                if key.startswith(prefix):
                    return priority
        return "normal"


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _prefixes(priorities: object) -> tuple[tuple[str, str], ...]:
    if priorities is None:
        return ()
    if not isinstance(priorities, Mapping):
        raise InvalidSetting(f"priorities must map key prefixes to priorities, and be no {type(priorities).__name__}")
    for prefix, priority in priorities.items():
        if not isinstance(prefix, str) or priority not in PRIORITIES:
            raise InvalidSetting(f"priorities[{prefix!r}]={priority!r}: a key prefix to one of {', '.join(PRIORITIES)}")
    # The longest prefix decides, so it is tried first.
    return tuple(sorted(priorities.items(), key=lambda item: -len(item[0])))


class Caller:
    """One producer's identity towards a shard: its id, its call numbers, its codec. Made anew after a fork.

    Calls are numbered in the order in which they are sent, one at a time.
    """

    def __init__(self, options: Options, shard: int = 0, shards: int = 1) -> None:
        self.options = options
        self.shard, self.shards = shard, shards
        self._codec = EnqueueCodec.for_shard(options.queue, shard, shards)
        self._id = os.urandom(8).hex().encode()
        self._number = 0
        self._blobs = itertools.count(1)

    def check(self, write: Write) -> Checked:
        """Raises InvalidWrite."""
        options = self.options
        return check_fields(
            write.key, write.body,
            (write.content_type, write.cache_control, write.content_disposition, write.storage_class),
            write.tags, write.metadata, write.tenant, write.compression, write.traceparent,
            options.bucket_for(write.bucket), options.priority_for(write.key, write.priority),
            options.max_body_bytes, self._new_blob_id,
        )  # fmt: skip

    def prepare_put(
        self,
        key: str,
        body: object,
        bucket: str | None,
        priority: str | None,
        headers: tuple[object, ...],
        tags: object,
        metadata: object,
        tenant: object,
        compression: str,
        traceparent: object,
    ) -> Prepared:
        """The same for the arguments of a put, and packed. Raises InvalidWrite."""
        options = self.options
        return pack(
            check_fields(
                key, body, headers, tags, metadata, tenant, compression, traceparent,
                options.bucket_for(bucket), options.priority_for(key, priority), options.max_body_bytes,
                self._new_blob_id,
            )
        )  # fmt: skip

    def _new_blob_id(self) -> bytes:
        return b"%s-%x" % (self._id, next(self._blobs))

    def check_many(self, writes: Iterable[object]) -> list[Checked]:
        """Raises InvalidWrite, which says which of them it is."""
        checked = []
        for at, write in enumerate(writes):
            if not isinstance(write, Write):
                raise InvalidWrite(f"writes[{at}] must be a Write, not {type(write).__name__}")
            try:
                checked.append(self.check(write))
            except InvalidWrite as error:
                raise InvalidWrite(f"writes[{at}]: {error}") from None
        return checked

    def prepare_delete(
        self, key: str, bucket: str | None, priority: str | None, tenant: str, traceparent: str | None
    ) -> Prepared:
        """Raises InvalidWrite."""
        options = self.options
        return prepare_delete(key, options.bucket_for(bucket), options.priority_for(key, priority), tenant, traceparent)

    def encode(self, groups: list[Group]) -> tuple[bytes, int]:
        """The next call: its bytes, and how many replies it gets. The same bytes are sent again after a fault."""
        self._number += 1
        return self._codec.encode(self._id, self._number, groups)

    @property
    def last_call(self) -> tuple[bytes, int]:
        """The identity of the call that was made last: producer and number."""
        return self._id, self._number

    def resume(self, producer: bytes, number: int) -> None:
        """The next call is this one."""
        self._id, self._number = producer, number - 1

    def with_script(self, command: bytes, replies: int) -> tuple[bytes, int]:
        """The same call for a server that does not have the script: it is loaded first."""
        return self._codec.load_command() + command, replies + 1

    def decode(
        self, answer: bytes, groups: list[Group], refused: ResponseError | None
    ) -> list[Accepted | PenstockError]:
        """What became of each group. ``refused``: what Redis said to a large body that it did not take."""
        told = None if refused is None else translate(refused, self.options.url, maybe_accepted=False)
        return decode_answer(answer, groups, told)


def receipts(accepted: Accepted, group: Group) -> list[Receipt]:
    return [
        Receipt(seq, coalesced, seq == 0, *split_name(write.name))
        for (seq, coalesced), write in zip(accepted, group, strict=True)
    ]


def not_durable(
    outcomes: list[Accepted | PenstockError], groups: list[Group], durability: Durability, missing: str
) -> list[Accepted | PenstockError]:
    """The same outcomes, with an error for those that were accepted."""
    text = (
        f"accepted, but not as safe as PENSTOCK_DURABILITY={durability.name} asks: {missing}. The write is in the "
        "queue; look at Redis's disk and replicas, or raise PENSTOCK_PRODUCER_TIMEOUT"
    )
    told: list[Accepted | PenstockError] = []
    for outcome, group in zip(outcomes, groups, strict=True):
        if not isinstance(outcome, PenstockError):
            error = NotDurable(text)
            error.receipts = tuple(receipts(outcome, group))
            told.append(error)
        else:
            told.append(outcome)
    return told


def late(timeout: float, *, maybe_accepted: bool) -> QueueUnavailable:
    """The error of a caller whose time is up while it waits for others' calls, or for its own in another's hands."""
    return QueueUnavailable(
        f"Redis did not answer within {timeout:g} s: look whether it is overloaded, or raise PENSTOCK_PRODUCER_TIMEOUT",
        maybe_accepted=maybe_accepted,
    )
