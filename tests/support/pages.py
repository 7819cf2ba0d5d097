"""What the pages for people name: commands with their options, settings, metrics, alerts, files, places to go to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from penstock_worker.cli import cli

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")

_WHERE_A_COMMAND_BEGINS = r"(?:^|[;|(]|&&|\$|--|/bin/)[ \t]*(?:while |until |if |! )?(?:[A-Z_]+=\S*[ \t]+)*"
_COMMAND = re.compile(rf"{_WHERE_A_COMMAND_BEGINS}penstock[ \t]+([^\n;|&#)<>]+)", re.MULTILINE)
_GROUPS = tuple(name for name, command in cli.commands.items() if isinstance(command, click.Group))


class Page(NamedTuple):
    path: Path
    text: str

    @property
    def blocks(self) -> list[str]:
        """Fenced code, without its fences."""
        return ["\n".join(block.splitlines()[1:-1]) for block in _FENCE.findall(self.text)]

    @property
    def prose(self) -> str:
        return _FENCE.sub("", self.text)

    @property
    def spans(self) -> list[str]:
        """Inline code; a line's end inside is a blank."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """The places that a link to this page may name, as GitHub makes them of headings."""
        plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading) for heading in _HEADING.findall(self.prose))
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}

    @property
    def links(self) -> list[str]:
        """Where it links to inside the repository: ``path#anchor``, ``path`` or ``#anchor``."""
        return [link for link in _LINK.findall(_SPAN.sub("", self.prose)) if "://" not in link]

    def commands(self) -> Iterator[list[str]]:
        """Each call of ``penstock``, in words, without the program's name.

        Inline, ``queue stats`` counts as one too.
        """
        for code in (*self.blocks, *self.spans):
            for call in _COMMAND.findall(code):
                yield call.replace("\\", " ").split()
        for span in self.spans:
            if re.match(rf"(?:{'|'.join(_GROUPS)}) [a-z-]+(?: |$)", span):
                yield re.split(r"[;|&#)<>]", span)[0].split()


def wrong_with(call: list[str]) -> str | None:
    """What the command line does not know of a call; None when it knows all of it."""
    command: click.Command = cli
    words = [word.strip("\"'…") for word in call]
    while isinstance(command, click.Group) and words and words[0] and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.commands.get(name)
        if found is None:
            return f"no command {name!r}"
        command = found
    options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    options |= {"--help", "-h"}
    for word in words:
        option = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z0-9-]*", option) and option not in options:
            return f"{command.name} has no option {option!r}"
    return None


def read(path: Path) -> Page:
    return Page(path, path.read_text(encoding="utf-8"))


def pages() -> list[Page]:
    """README and everything in docs."""
    return [read(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
