"""The trial's Valkey, started by the chart's own script and configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from penstock_worker.checks import is_durable
from penstock_worker.demo.process import LOOPBACK, ServerProcess
from penstock_worker.demo.servers import find_redis_server
from tests.support.chart import container, env, pod, rendered

PASSWORD = "not-a-real-password"


@pytest.fixture
def server(tmp_path: Path, redis_executable: str | None) -> Iterator[ServerProcess]:
    """A server of this machine in the container's place: other paths, a port of its own."""
    release = rendered("valkey")
    config = release.one("ConfigMap", "valkey")["data"]["valkey.conf"].replace("dir /data", f"dir {tmp_path}")
    (tmp_path / "valkey.conf").write_text(config, encoding="utf-8")
    (tmp_path / "run").mkdir()
    (script,) = container(release.one("StatefulSet"))["args"]
    script = (
        script.rstrip()
        .replace("/etc/valkey/valkey.conf", f"{tmp_path}/valkey.conf")
        .replace("/run/valkey/valkey.conf", f"{tmp_path}/run/valkey.conf")
        .replace("valkey-server", redis_executable or find_redis_server())
    )

    def answers(port: int, pid: int) -> bool:
        with redis.Redis(LOOPBACK, port, password=PASSWORD, socket_timeout=5) as client:
            try:
                return bool(client.info("server")["process_id"] == pid)
            except redis.RedisError:
                return False

    process = ServerProcess(
        "valkey",
        tmp_path,
        lambda port: ["sh", "-ec", f"{script} --port {port} --bind {LOOPBACK}"],
        answers,
        environ=lambda _: {**os.environ, "REDISCLI_AUTH": PASSWORD},
    )
    process.start()
    try:
        yield process
    finally:
        process.stop()


def test_the_trials_valkey_keeps_what_it_is_given_and_asks_for_the_password(server: ServerProcess) -> None:
    with redis.Redis(LOOPBACK, server.port, password=PASSWORD) as client:
        assert is_durable(client.info())
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        assert int(client.config_get("maxmemory")["maxmemory"]) == 1024**3
    with redis.Redis(LOOPBACK, server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert PASSWORD not in Path(f"/proc/{server.pid}/cmdline").read_text(encoding="utf-8")


def test_the_trials_valkey_has_a_volume_and_workers_reach_it_with_its_password() -> None:
    release = rendered("valkey")
    valkey = release.one("StatefulSet")
    (claim,) = valkey["spec"]["volumeClaimTemplates"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "8Gi"}},
    }
    (data,) = [one for one in container(valkey)["volumeMounts"] if one["name"] == claim["metadata"]["name"]]
    config = release.one("ConfigMap", "valkey")["data"]["valkey.conf"]
    assert f"dir {data['mountPath']}\n" in config
    assert pod(valkey)["securityContext"]["fsGroup"] == pod(valkey)["securityContext"]["runAsUser"]
    for part in ("worker", "exporter"):
        variables = env(release.one("Deployment", part))
        password = variables["VALKEY_PASSWORD"]["valueFrom"]["secretKeyRef"]
        assert release.one("Secret", "valkey")["stringData"] == {password["key"]: PASSWORD}
        assert variables["PENSTOCK_REDIS_URL"]["value"] == "redis://:$(VALKEY_PASSWORD)@penstock-valkey:6379/0"
        # Kubernetes fills in a variable only when it stands before the one that uses it.
        assert list(variables).index("VALKEY_PASSWORD") < list(variables).index("PENSTOCK_REDIS_URL")
    assert release.one("Service", "valkey")["metadata"]["name"] == "penstock-valkey"


def test_without_a_trial_there_is_no_valkey() -> None:
    assert not rendered("minimal").of("StatefulSet")
    assert not any("valkey" in str(one) for one in rendered("minimal").objects)
