"""The demo's input: the regular files below a directory."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from penstock.errors import InvalidWrite
from penstock.write import prepare_delete

TOO_LARGE = "larger than PENSTOCK_MAX_BODY_BYTES"
NO_KEY = "name is no S3 key"
UNREADABLE = "not readable"
NOT_REGULAR = "links and special files"

BUCKET = "penstock-demo"


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    key: str
    size: int


@dataclass(slots=True)
class Found:
    """``skipped``: how many by reason. ``more``: the limit was reached and there are others."""

    sources: list[Source] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    more: bool = False

    @property
    def bytes(self) -> int:
        return sum([source.size for source in self.sources])


def find_files(directory: Path, limit: int, max_bytes: int, check: Callable[[], None]) -> Found:
    """Up to ``limit`` files in a fixed order; their paths below ``directory`` are the keys. Follows no links.

    ``check`` is called now and then and may raise to end it.
    """
    found = Found()

    def unreadable(error: OSError) -> None:
        found.skipped[UNREADABLE] += 1

    for folder, subfolders, names in os.walk(directory, onerror=unreadable):
        check()
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            key = path.relative_to(directory).as_posix()
            size, reason = _look_at(path, key, max_bytes)
            if reason is not None:
                found.skipped[reason] += 1
            elif len(found.sources) == limit:
                found.more = True
                return found
            else:
                found.sources.append(Source(path, key, size))
    return found


def _look_at(path: Path, key: str, max_bytes: int) -> tuple[int, str | None]:
    """Its size, and why it is left out."""
    try:
        status = path.lstat()
    except OSError:
        return 0, UNREADABLE
    if not stat.S_ISREG(status.st_mode):
        return 0, NOT_REGULAR
    if status.st_size > max_bytes:
        return 0, TOO_LARGE
    try:
        prepare_delete(key, BUCKET, "normal", "")  # checks the key
    except InvalidWrite:
        return 0, NO_KEY
    return status.st_size, None


def read_file(source: Source, max_bytes: int) -> tuple[bytes, str | None]:
    """The file's bytes, or why there are none: it may have changed since it was found."""
    try:
        with source.path.open("rb") as file:
            body = file.read(max_bytes + 1)
    except OSError:
        return b"", UNREADABLE
    return (b"", TOO_LARGE) if len(body) > max_bytes else (body, None)
