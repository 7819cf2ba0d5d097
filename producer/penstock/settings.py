"""Settings from the environment and from a TOML file, read once and checked by msgspec.

``PENSTOCK_CONFIG`` names the file; there a setting's name is in lower case without the prefix. The environment wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from penstock.errors import InvalidSetting
from penstock.values import (
    DEFAULT_DURABILITY,
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_QUEUE,
    DEFAULT_SPOOL_MAX_BYTES,
    DEFAULT_TIMEOUT,
    DEFAULT_URL,
)

PREFIX = "PENSTOCK_"
MAX_TIMEOUT = 300.0
"""Seconds a producer's call may take. Redis keeps a call's answer and a large body for 600 s; sent again after that, a
write would count twice."""
MAX_BODY_BYTES = 512 * 1024 * 1024
"""A string in Redis holds no more."""

_SIZE = re.compile(r"([0-9]{1,18})\s*(|b|k|kb|kib|m|mb|mib|g|gb|gib)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
# What Kubernetes puts into every pod for a Service called penstock or penstock-something.
_OF_A_SERVICE = re.compile(r"PENSTOCK_(.+_)?(SERVICE_.+|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_PORT = re.compile(r"PENSTOCK_(.+_)?PORT(_.*)?")

T = TypeVar("T", bound=msgspec.Struct)


class ByteSize(int):
    """A number of bytes: ``1048576``, ``512KiB``, ``64MiB``, ``1GiB`` (KB and K mean KiB too)."""

    @classmethod
    def parse(cls, value: object) -> ByteSize:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError("expected a size such as 1048576, 512KiB or 64MiB")
        return cls(int(match[1]) * _UNITS[match[2].lower()[:1]])


def about(text: str, unset: str = "") -> Meta:
    """What a setting is, for docs/settings.md; ``unset`` says what holds where its default is None."""
    return Meta(description=text, extra={"unset": unset})


QueueName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
Seconds = Annotated[float, Meta(gt=0, le=86400)]


class ProducerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a producer takes from the environment; the worker's settings extend it."""

    redis_url: Annotated[
        str,
        about(
            "`redis://` or `rediss://` (TLS), with user and password if need be; `unix://` for a socket; "
            "`redis+sentinel://` and `redis+cluster://`: see docs/connections.md"
        ),
    ] = DEFAULT_URL
    queue: Annotated[QueueName, about("the queue's name; producers and workers of one queue share it")] = DEFAULT_QUEUE
    bucket: Annotated[str | None, about("the bucket of writes that name none")] = None
    max_body_bytes: Annotated[ByteSize, about("producers refuse a larger body")] = ByteSize(DEFAULT_MAX_BODY_BYTES)
    producer_timeout: Annotated[
        float, Meta(gt=0, le=MAX_TIMEOUT), about("what one call of a producer takes at most")
    ] = DEFAULT_TIMEOUT
    durability: Annotated[
        str,
        Meta(pattern=r"^(memory|fsync|replicas:[1-9][0-9]?)\Z"),
        about("when a producer's call returns: `memory`, `fsync` or `replicas:N`; see docs/connections.md"),
    ] = DEFAULT_DURABILITY
    spool: Annotated[
        str | None,
        about("a directory on this host's disk where writes go while Redis is away; see docs/spool.md", "no spool"),
    ] = None
    spool_max_bytes: Annotated[ByteSize, about("the spool takes no more than this")] = ByteSize(DEFAULT_SPOOL_MAX_BYTES)


def load_settings(
    kind: type[T],
    environ: Mapping[str, str] | None = None,
    *,
    strict: bool = False,
    known: frozenset[str] = frozenset(),
) -> T:
    """Settings of ``kind``, a msgspec struct whose fields all have defaults.

    Args:
        strict: refuse names that ``kind`` (and ``known``) do not have; a producer only takes what it needs.

    Raises:
        InvalidSetting: names the setting and says what was expected.
    """
    env = os.environ if environ is None else environ
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    given: dict[str, tuple[object, str]] = {}  # name to value and where it comes from
    path = env.get(PREFIX + "CONFIG")
    if path:
        for name, value in _read_file(Path(path)).items():
            given[name] = (value, f"{name} in {path}")
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        name = variable.removeprefix(PREFIX).lower()
        if _is_from_kubernetes(variable, text) and (name not in fields or "://" in text):
            continue
        if text != "" or name not in fields:
            given[name] = (text, variable)
    values: dict[str, Any] = {}
    for name, (value, source) in given.items():
        if name in fields:
            values[name] = _convert(value, fields[name].type, source)
        elif strict and name not in known:
            raise InvalidSetting(f"{source} is no setting of Penstock: check its spelling, or unset it")
    return kind(**values)


def _read_file(path: Path) -> dict[str, Any]:
    import tomllib  # few producers have a file, and all would pay for it

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"PENSTOCK_CONFIG: cannot read {path}: {error}") from error


def _is_from_kubernetes(variable: str, text: str) -> bool:
    return bool(_OF_A_SERVICE.fullmatch(variable) or ("://" in text and _PORT.fullmatch(variable)))


def _convert(value: object, kind: Any, source: str) -> object:
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=_decode)
    except ValueError as error:  # msgspec's ValidationError is one
        raise InvalidSetting(f"{source}={_shown(source, value)}: {error}") from None


def _decode(kind: type, value: object) -> object:
    if kind is ByteSize:
        return ByteSize.parse(value)
    raise NotImplementedError(kind)


def _shown(source: str, value: object) -> str:
    # A URL may hold a password.
    return "…" if "url" in source.lower() else repr(value)
