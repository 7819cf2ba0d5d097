"""The sidecar HTTP port: metrics and health, through prometheus_client's WSGI application and server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from penstock.errors import InvalidSetting

log = structlog.get_logger()

Reasons = Callable[[], list[str]]
"""Why something is not well; empty when it is."""

StartResponse = Callable[..., Any]


class _Quiet(WSGIRequestHandler):
    """Scrapes are no news."""

    timeout = 10.0  # seconds for a request to arrive: a silent client must not hold a thread

    def log_message(self, format: str, *args: object) -> None:
        log.debug("sidecar_request", request=format % args)


class _Server(ThreadingWSGIServer):
    daemon_threads = True
    allow_reuse_address = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class Sidecar:
    """``/metrics``, ``/healthz`` (alive) and ``/readyz`` (works), on a thread of its own."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, alive: Reasons, ready: Reasons) -> None:
        """Binds at once.

        Raises:
            InvalidSetting: the address is taken or none of this host's.
        """
        self._metrics = make_wsgi_app(registry)
        self._alive = alive
        self._ready = ready
        try:
            self._server = make_server(
                host, port, self._answer, _ServerV6 if ":" in host else _Server, handler_class=_Quiet
            )
        except (OSError, OverflowError) as error:
            raise InvalidSetting(
                f"PENSTOCK_SIDECAR_PORT={port}: cannot listen on {host}:{port} ({error}); choose another port, "
                "or 0 for any free one"
            ) from error
        self.port = self._server.server_port
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="penstock-sidecar", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = self._metrics(environ, start_response)
            return page
        if path == "/healthz":
            return self._health(start_response, self._alive())
        if path == "/readyz":
            return self._health(start_response, self._ready())
        return _reply(start_response, "404 Not Found", {"paths": ["/metrics", "/healthz", "/readyz"]})

    def _health(self, start_response: StartResponse, reasons: list[str]) -> Iterable[bytes]:
        status = "503 Service Unavailable" if reasons else "200 OK"
        return _reply(start_response, status, {"ok": not reasons, "reasons": reasons})


def _reply(start_response: StartResponse, status: str, body: dict[str, Any]) -> Iterable[bytes]:
    text = json.dumps(body).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]
