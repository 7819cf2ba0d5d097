"""What is done with which file: the demo's mix, the same at every run."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from penstock import Write
from penstock_worker.demo.files import Source

PRIORITY_CYCLE = ("normal", "low", "critical", "normal", "high", "low", "normal")
"""Of seven files, so that it is not in step with the twenty of the fates."""

_DRAFT = b"a draft that the file itself overwrites\n"

BULK_EVERY = 3
BULK_BYTES = 64 * 1024
"""Every third file goes through put_many, together with others, unless it is larger than this."""


class Fate(Enum):
    PLAIN = "put once"
    DRAFTED = "a draft and the file in one put_many: they coalesce for certain"
    OVERWRITTEN = "other contents first, the file when all others are accepted: the first may wait or be stored"
    DELETED = "put, and deleted at once"
    DELETED_LATE = "put, and deleted when all others are accepted: by then it may be stored"


_FATES = {3: Fate.DRAFTED, 13: Fate.DRAFTED, 6: Fate.OVERWRITTEN, 16: Fate.OVERWRITTEN, 9: Fate.DELETED,
          19: Fate.DELETED_LATE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    source: Source
    fate: Fate
    priority: str
    content_type: str
    tags: dict[str, str]
    bulk: bool

    @property
    def writes(self) -> int:
        return 1 if self.fate is Fate.PLAIN else 2

    def put(self, body: bytes) -> Write:
        return Write(
            key=self.source.key,
            body=body,
            priority=self.priority,
            content_type=self.content_type,
            tags=self.tags,
            tenant="demo",
        )


def plan(sources: Iterable[Source]) -> list[Task]:
    return [
        Task(
            source=source,
            fate=_FATES.get(number % 20, Fate.PLAIN),
            priority=PRIORITY_CYCLE[number % len(PRIORITY_CYCLE)],
            content_type=_content_type(source.key),
            tags={"source": "penstock-demo", "kind": _kind(source.key)},
            bulk=number % BULK_EVERY == 0 and source.size < BULK_BYTES,
        )
        for number, source in enumerate(sources)
    ]


def draft(body: bytes) -> bytes:
    """Other contents than ``body`` and hardly longer: what must never be seen in the end."""
    return (_DRAFT + body[::-1])[: max(len(body), len(_DRAFT))]


def _content_type(key: str) -> str:
    kind, encoding = mimetypes.guess_type(key)
    if encoding is not None:  # a compressed file is what it is; Content-Encoding is Penstock's
        return f"application/{encoding}"
    return kind or "application/octet-stream"


def _kind(key: str) -> str:
    suffix = key.rpartition("/")[2].rpartition(".")[2]
    return suffix if re.fullmatch(r"\w{1,16}", suffix) else "other"
