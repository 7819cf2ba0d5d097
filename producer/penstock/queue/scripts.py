"""The Lua scripts, read from the files beside this one.

A script names the parts it is built from in lines ``-- include: a b``; the parts take a line's place, and may so stand
inside a function that few calls need. Loaded by hash; who runs one handles NOSCRIPT by loading it again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

_INCLUDE = re.compile(r"^ *-- include: (.*)$", re.MULTILINE)
_WORLD = ("clock", "server")


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the SHA-1 by which Redis knows it."""

    name: str
    source: bytes
    sha: bytes = field(init=False)

    def __post_init__(self) -> None:
        # Redis names scripts by SHA-1; nothing here rests on it being hard to forge.
        object.__setattr__(self, "sha", hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode())


@cache
def _read(path: str) -> str:
    return files(__package__).joinpath("scripts").joinpath(path).read_text(encoding="utf-8")


@cache
def load(name: str, clock: str | None = None) -> Script:
    """The script ``name``. ``clock`` replaces the shared snippets of time and of the server's identity: for tests that
    shift the one and change the other."""

    def parts(line: re.Match[str]) -> str:
        names = line[1].split()
        own = [_read(f"include/{part}.lua") for part in names if clock is None or part not in _WORLD]
        return "\n".join(own if clock is None or "clock" not in names else [clock, *own])

    return Script(name, _INCLUDE.sub(parts, _read(f"{name}.lua")).encode())
