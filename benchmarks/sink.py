"""A fast sink for PUTs: nginx with WebDAV on a memory file system, so that the store is not what is measured."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock_worker.demo.process import LOOPBACK

START_SECONDS = 10.0

_CONFIG = """
{user}
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  client_max_body_size 32m; keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port}; root {root}/objects;
    location / {{
      dav_methods PUT DELETE; create_full_put_path on; dav_access user:rw;
      add_header ETag '"00000000000000000000000000000000"' always;
    }}
  }}
}}
"""


class NginxSink:
    """Takes PUTs at about ten thousand a second; understands nothing else of S3."""

    def __init__(self) -> None:
        executable = shutil.which("nginx")
        if executable is None:
            raise SystemExit("the benchmark needs nginx on PATH (Debian: apt-get install nginx-light)")
        self._executable = executable
        memory = Path("/dev/shm")  # noqa: S108 - a memory file system, for objects that nobody keeps
        self._root = Path(tempfile.mkdtemp(prefix="penstock-sink-", dir=memory if memory.is_dir() else None))
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint_url = ""

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
        (self._root / "objects").mkdir()
        # Started by root, nginx would change to a user who may not write here.
        user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
        config = self._root / "nginx.conf"
        config.write_text(_CONFIG.format(root=self._root, port=port, user=user))
        self._process = subprocess.Popen([self._executable, "-c", str(config), "-p", str(self._root)])
        self.endpoint_url = f"http://{LOOPBACK}:{port}"
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                request = urllib.request.Request(self.endpoint_url + "/probe", data=b"x", method="PUT")
                urllib.request.urlopen(request, timeout=1).close()
                return self
            except OSError:
                if time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
        shutil.rmtree(self._root, ignore_errors=True)
