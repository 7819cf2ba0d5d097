"""What an Alertmanager's webhooks say, received on a loopback port."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from penstock_worker.demo.process import LOOPBACK


class AlertReceiver:
    """Keeps what it is sent, by the path that it was sent to. Safe to read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alerts: list[tuple[str, dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with receiver._lock:
                    receiver._alerts += [(self.path, alert) for alert in sent["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody wants to read it."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="alert-receiver", daemon=True)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"

    def alerts(self, path: str) -> list[dict[str, Any]]:
        """All that ever came to ``path``, oldest first: ``{"status", "labels", "annotations", …}`` each."""
        with self._lock:
            return [alert for at, alert in self._alerts if at == path]

    def status(self, path: str, alert: str) -> str:
        """The latest word about an alert: firing, resolved, or empty when none came."""
        told = [one["status"] for one in self.alerts(path) if one["labels"]["alertname"] == alert]
        return str(told[-1]) if told else ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
