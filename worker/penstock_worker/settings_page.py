"""docs/settings.md from the settings' own names, limits, defaults and descriptions.

``python -m penstock_worker.settings_page`` prints it; ``make docs`` writes it, and a test compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from penstock.settings import PREFIX, ByteSize
from penstock_worker.settings import WorkerSettings

HEAD = """\
# Settings

<!-- Made from the code: `make docs` writes this page, so change penstock_worker/settings.py instead. -->

Environment variables; in the TOML file that `PENSTOCK_CONFIG` names the same names in lower case without the prefix.
The environment wins. A worker and the commands refuse an unknown `PENSTOCK_` name or a bad value, naming it (exit
status 2); names that Kubernetes injects (`PENSTOCK_*_SERVICE_*`, `PENSTOCK_*_PORT*` with a URL in them) are ignored.
Sizes are written as `1048576`, `512KiB`, `64MiB` or `1GiB`; times are seconds. `penstock worker --check` says whether
all of them are right.

| setting | default | values | what it is |
| --- | --- | --- | --- |
"""

FOOT = """
The limits of the queue are the queue's, not a process's, and are kept in Redis: 1,000,000 writes, 1 GiB of them,
256 MiB of dead letters. So is its number of shards, 1, of which each has its part of the limits. `penstock queue
configure` changes them; [scaling.md](scaling.md) says how many shards are right.
"""

_UNITS = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"{_row(field)}\n" for field in msgspec.structs.fields(WorkerSettings)) + FOOT


@dataclass(frozen=True, slots=True)
class Described:
    """A setting in words; Markdown, but for the default."""

    text: str
    values: str
    default: str
    """As it is written in the environment; for one that is unset, what holds then."""


def describe(field: msgspec.structs.FieldInfo) -> Described:
    """What the code knows of a field of the settings."""
    metas = list(_metas(field.type))
    text = next((meta.description for meta in metas if meta.description), "")
    unset = next((meta.extra["unset"] for meta in metas if meta.extra), "")
    default = unset if field.default is None else _shown(field.default)
    return Described(text, _values(field.type, metas), default)


def _row(field: msgspec.structs.FieldInfo) -> str:
    known = describe(field)
    default = known.default if field.default is None else f"`{known.default}`"
    return f"| `{PREFIX}{field.name.upper()}` | {default} | {known.values} | {known.text} |"


def _parts(kind: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield kind
    if get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from _parts(part)


def _metas(kind: Any) -> Iterator[Meta]:
    return (part for part in _parts(kind) if isinstance(part, Meta))


def _values(kind: Any, metas: list[Meta]) -> str:
    parts = list(_parts(kind))
    choices = next((get_args(part) for part in parts if get_origin(part) is Literal), ())
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if ByteSize in parts:
        return "size"
    if int in parts or float in parts:
        return _range(metas)
    assert str in parts, f"{kind} has no words yet"  # noqa: S101 - a setting of a new type needs some
    return "text"


def _range(metas: list[Meta]) -> str:
    above = next((f"above {meta.gt:g}" for meta in metas if meta.gt is not None), "")
    least = next((f"{meta.ge:g}" for meta in metas if meta.ge is not None), "")
    most = next((f"{meta.le:g}" for meta in metas if meta.le is not None), "")
    return f"{above or least} to {most}"


def _shown(default: object) -> str:
    if isinstance(default, ByteSize):
        unit, size = next(((unit, size) for unit, size in _UNITS if default % size == 0), ("", 1))
        return f"{default // size}{unit}"
    return f"{default:g}" if isinstance(default, float) else str(default)


if __name__ == "__main__":
    print(page(), end="")
