"""Redis over TLS: what is trusted, and the errors of what is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock import InvalidSetting, QueueUnavailable
from penstock.queue.client import Queue
from penstock.queue.connection import open_client
from penstock_worker.demo.process import LOOPBACK
from penstock_worker.demo.servers import RedisServer, ServerError, all_redis_servers
from tests.support.certificates import DAY, Authority, Pair
from tests.support.producers import BUCKET, HANG, KINDS, AnyProducer
from tests.support.stub_s3 import closed_port
from tests.support.worker import environment, run_command

Kind = Callable[..., AnyProducer]


class SecureServer:
    """One Redis with a TLS port, whose certificate a test changes."""

    def __init__(self, directory: Path, executable: str) -> None:
        self.authority = Authority(directory, "authority")
        self.other = Authority(directory, "other")
        self.good = self.authority.issue("good", LOOPBACK)
        self.port = closed_port()
        files = ("--tls-cert-file", str(self.good.certificate), "--tls-key-file", str(self.good.key))
        options = ("--tls-port", str(self.port), *files, "--tls-ca-cert-file", str(self.authority.file))
        self.server = RedisServer(
            directory, executable=executable, extra=(*options, "--tls-auth-clients", "no", "--appendonly", "no")
        )

    def show(self, pair: Pair) -> None:
        with open_client(self.server.url, HANG) as client:
            names = ("tls-cert-file", pair.certificate, "tls-key-file", pair.key)
            client.execute_command("CONFIG SET", *(str(name) for name in names))

    def url(self, scheme: str = "rediss", path: str = "/0") -> str:
        return f"{scheme}://{LOOPBACK}:{self.port}{path}?ssl_ca_certs={self.authority.file}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    for executable in all_redis_servers():
        server = SecureServer(tmp_path_factory.mktemp("tls"), executable)
        try:
            server.server.start()
        except ServerError as error:
            if "tls" not in str(error).lower():
                raise
            continue  # built without TLS
        try:
            yield server
        finally:
            server.server.stop()
        return
    pytest.skip("no server with TLS here")


@pytest.mark.parametrize("kind", KINDS)
def test_a_trusted_server_takes_writes(kind: Kind, secure: SecureServer, queue_name: str) -> None:
    secure.show(secure.good)
    with kind(secure.url(), queue=queue_name) as producer:
        assert producer.put("key", b"body", bucket=BUCKET).seq
    with open_client(secure.url(), HANG, queue_name) as client:
        assert Queue(client, queue_name).stats().items == 1


@pytest.mark.parametrize(
    ("issue", "cause"),
    [
        (lambda one: one.authority.issue("old", LOOPBACK, age=7 * DAY), "certificate has expired"),
        (lambda one: one.authority.issue("elsewhere", "192.0.2.1"), "not valid for '127.0.0.1'"),
        (lambda one: one.other.issue("unknown", LOOPBACK), "unable to get local issuer certificate"),
    ],
    ids=["expired", "of another host", "of an unknown authority"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_that_is_not_trusted_is_told_at_once_with_its_cause(
    kind: Kind, issue: Callable[[SecureServer], Pair], cause: str, secure: SecureServer, queue_name: str
) -> None:
    secure.show(issue(secure))
    began = time.monotonic()
    with kind(secure.url(), queue=queue_name, timeout=HANG) as producer, pytest.raises(QueueUnavailable) as caught:
        producer.put("key", b"body", bucket=BUCKET)
    assert not caught.value.maybe_accepted
    assert cause in str(caught.value)
    assert "PENSTOCK_REDIS_URL" in str(caught.value)
    assert "ssl_ca_certs" in str(caught.value)
    assert time.monotonic() - began < HANG, "it was tried again"


def test_a_worker_that_does_not_trust_its_redis_says_why_at_its_start(secure: SecureServer, queue_name: str) -> None:
    secure.show(secure.authority.issue("old", LOOPBACK, age=7 * DAY))
    env = environment(secure.url(), "http://127.0.0.1:1", queue_name, {})
    done = run_command("queue", "stats", env=env)
    assert done.returncode != 0
    assert b"certificate has expired" in done.stderr
    assert done.stderr.count(b"\n") <= 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_named_when_the_producer_is_made(kind: Kind, option: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"{option}=/no/such/file"):
        kind(f"rediss://user:s3cr3t@host?{option}=/no/such/file")
