"""Addresses of Redis: one server, the Sentinels that know it, or the nodes of a cluster.

``redis://``, ``rediss://`` (TLS) and ``unix://`` name a server. ``redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB``
names Sentinels and what they call the master, ``redis+cluster://HOST:PORT,HOST:PORT`` some nodes of a cluster; with
``rediss`` in front both use TLS. Users and passwords are the servers', Sentinel's own come as options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

SCHEMES = ("redis://", "rediss://", "unix://", "redis+sentinel://", "redis+cluster://")
"""The last two with ``rediss`` too."""

EXAMPLES = {
    "sentinel": "redis+sentinel://user:password@host:26379,host:26379/service/0",
    "cluster": "redis+cluster://user:password@host:6379,host:6379",
    "": "redis://user:password@host:6379/0",
}

_PORTS = {"sentinel": 26379, "cluster": 6379}
_FOUND = re.compile(r"(rediss?)\+(sentinel|cluster)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.DOTALL)

Node = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says.

    Attributes:
        server: the URL of one server, for redis-py: login, number of the database, options.
        nodes: whom to ask where that server is; empty when ``server`` is the place itself.
        service: what Sentinel calls the master; empty for a cluster.
        login: Sentinel's own user and password, when it is asked.
    """

    server: str
    nodes: tuple[Node, ...] = ()
    service: str = ""
    login: tuple[tuple[str, str | None], ...] = ()


def kind_of(url: str) -> str:
    """``sentinel``, ``cluster``, or an empty string for a server."""
    found = re.match(r"rediss?\+(sentinel|cluster)://", url)
    return found[1] if found else ""


def read_address(url: str) -> Address:
    """Raises ValueError, whose text may hold parts of a password."""
    if not kind_of(url):
        if not url.startswith(SCHEMES):
            raise ValueError("the scheme is not known")
        return Address(url)
    found = _FOUND.fullmatch(url)
    if found is None:
        raise ValueError("a part behind # means nothing")
    scheme, kind, place, path, query = found.groups(default="")
    login, _, hosts = place.rpartition("@")
    nodes = tuple(_node(text, _PORTS[kind]) for text in hosts.split(","))
    service, database = _path(path, kind)
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    asking: tuple[tuple[str, str | None], ...] = ()
    if kind == "sentinel":
        asking = tuple((name, options.pop(f"sentinel_{name}", None)) for name in ("username", "password"))
    server = f"{scheme}://{login}{'@' if login else ''}{hosts.split(',')[0]}/{database}"
    return Address(f"{server}?{urlencode(options)}" if options else server, nodes, service, asking)


def _node(text: str, port: int) -> Node:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.username is not None:
        raise ValueError("a host is missing")
    return unquote(parts.hostname), parts.port or port


def _path(path: str, kind: str) -> tuple[str, int]:
    """The service and the number of the database."""
    parts = [unquote(part) for part in path.removeprefix("/").split("/")] if path not in ("", "/") else []
    service = parts.pop(0) if kind == "sentinel" and parts else ""
    if (kind == "sentinel") != bool(service) or len(parts) > 1:
        raise ValueError("a path that means nothing")
    database = int(parts[0]) if parts and parts[0] else 0
    if database < 0 or (database and kind == "cluster"):
        raise ValueError("a cluster has database 0 only")
    return service, database
