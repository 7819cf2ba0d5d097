"""Which of Redis's commands the scripts run, read from their source: what a user of an ACL must be allowed."""

from __future__ import annotations

import re
from importlib.resources import files

from penstock.queue.scripts import load

_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end$|^local function (\w+)\(.*?\bend$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"\bcall\('(\w+)'")


def script_names() -> list[str]:
    found = files("penstock.queue").joinpath("scripts").iterdir()
    return sorted(entry.name.removesuffix(".lua") for entry in found if entry.name.endswith(".lua"))


def commands_of(script: str) -> set[str]:
    """Those that it can reach: not those of an included function that nothing calls."""
    source = "\n".join(line.partition(" -- ")[0] for line in load(script).source.decode().splitlines())
    bodies: dict[str, str] = {}
    main = source
    for found in _FUNCTION.finditer(source):
        bodies[found[1] or found[2]] = found[0]
        main = main.replace(found[0], "")
    reached, waiting = set[str](), [main]
    text = ""
    while waiting:
        part = waiting.pop()
        text += part
        for name in bodies.keys() - reached:
            if re.search(rf"\b{name}\b", part):
                reached.add(name)
                waiting.append(bodies[name])
    return {found.lower() for found in _COMMAND.findall(text)}
