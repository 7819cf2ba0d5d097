"""A fast sink for PUTs, so that the store is not what is measured: nginx on a memory file system where it is installed,
else `benchmarks.stub_sink`. Neither understands anything else of S3."""

from __future__ import annotations

import getpass
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bodies import BODY, BUCKET
from penstock_worker.demo.process import LOOPBACK, ServerProcess

MEMORY = Path("/dev/shm")  # noqa: S108 - a memory file system, for objects that nobody keeps
WRK_SECONDS = 2
WRK_CONNECTIONS = 12

_CONFIG = """
{user}
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  client_max_body_size 64m; client_body_buffer_size 128k; keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port}; root {root}/objects;
    {locations}
  }}
}}
"""
_STORES = """
    location / {
      dav_methods PUT DELETE; create_full_put_path on; dav_access user:rw;
      add_header ETag '"00000000000000000000000000000000"' always;
    }
"""
# nginx delays nothing but refusals: so it refuses everybody, later, and then answers that all is well.
_WAITS = """
    location / {{
      auth_basic "x"; auth_basic_user_file /dev/null; auth_delay {millis}ms; error_page 401 =200 @answer;
    }}
    location @answer {{
      auth_basic off; add_header ETag '"00000000000000000000000000000000"' always; return 200;
    }}
"""
_WRK_SCRIPT = """
wrk.body = string.rep("x", {size})
local number = 0
request = function()
  number = number + 1
  return wrk.format("PUT", "/{bucket}/wrk/" .. number % 1000)
end
"""


class Sink:
    """Takes PUTs from `__enter__` to `__exit__` of `open_sink`."""

    def __init__(self, name: str, root: Path, server: ServerProcess) -> None:
        self.name = name
        """What it is, for the table."""
        self._root = root
        self._server = server

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.port}"

    def clear(self) -> None:
        """Takes away what it keeps."""
        for entry in self._root.joinpath("objects").iterdir():
            shutil.rmtree(entry)


def _answers(port: int, _pid: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("PUT", f"/{BUCKET}/probe", body=b"x")
        return connection.getresponse().status < http.HTTPStatus.BAD_REQUEST
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def open_sink(*, nginx: bool = True, latency: float = 0.0) -> Iterator[Sink]:
    """A sink that runs. With ``latency`` (seconds) it answers each request so much later, and keeps nothing.

    Raises:
        ServerError: it does not start.
    """
    executable = shutil.which("nginx") if nginx else None
    in_memory = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="penstock-sink-", dir=in_memory) as directory:
        root = Path(directory)
        (root / "objects").mkdir()

        def nginx_command(port: int) -> list[str]:
            # Started by root, nginx would change to a user who may not write here.
            user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
            locations = _WAITS.format(millis=round(latency * 1000)) if latency else _STORES
            config = root / "nginx.conf"
            config.write_text(_CONFIG.format(root=root, port=port, user=user, locations=locations))
            return [str(executable), "-c", str(config), "-p", str(root)]

        def stub_command(port: int) -> list[str]:
            return [sys.executable, "-P", str(Path(__file__).with_name("stub_sink.py")), str(port), str(latency)]

        command = stub_command if executable is None else nginx_command
        name = "asyncio stub" if executable is None else "nginx with DAV on a memory file system"
        server = ServerProcess("sink", root, command, _answers)
        try:
            server.start()
            yield Sink(name, root, server)
        finally:
            server.stop()


def measure_limit(endpoint_url: str) -> float | None:
    """PUTs of 1 KiB a second from wrk, a client in C, on 12 connections; None where it is not installed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    with tempfile.NamedTemporaryFile("w", prefix="penstock-wrk-", suffix=".lua") as script:
        script.write(_WRK_SCRIPT.format(size=BODY, bucket=BUCKET))
        script.flush()
        shape = ["-t1", f"-c{WRK_CONNECTIONS}", f"-d{WRK_SECONDS}s"]
        said = subprocess.run(
            [wrk, *shape, "-s", script.name, endpoint_url], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"Requests/sec:\s*([\d.]+)", said)
    return float(found[1]) if found else None
