"""How the chart runs a worker: its settings arrive, its secrets stay secret, and it has time to stop."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from penstock_worker.daemon import STOP_MARGIN_SECONDS
from penstock_worker.settings import WorkerSettings, read_settings, setting_names
from tests.support.chart import VALUE_FILES, Object, container, env, minimal, pod, render, rendered, values_of


def _file(tmp_path: Path, values: Object) -> WorkerSettings:
    """What a worker reads from the chart's ConfigMap."""
    config = render(values).one("ConfigMap", "penstock" if "nameOverride" not in values else "uploads")
    path = tmp_path / "penstock.toml"
    path.write_text(config["data"]["penstock.toml"], encoding="utf-8")
    return read_settings({"PENSTOCK_CONFIG": str(path)})


def test_every_setting_reaches_the_worker_as_it_was_given(tmp_path: Path) -> None:
    values = values_of("everything")
    given = values["settings"]
    assert sorted([*given, "redis_url"]) == sorted(setting_names()), "the file should have every setting"
    read, default = _file(tmp_path, values), WorkerSettings()
    sizes = {"batch_max_bytes": 16 * 1024**2, "min_bytes_per_second": 512 * 1024, "spool_max_bytes": 128 * 1024**2}
    for name, value in given.items():
        assert getattr(read, name) == sizes.get(name, value)
        assert getattr(read, name) != getattr(default, name), f"{name} should not have its default there"


def test_without_settings_the_worker_has_its_defaults_and_listens_for_probes(tmp_path: Path) -> None:
    read, default = _file(tmp_path, minimal()), WorkerSettings()
    differing = {name for name in setting_names() if getattr(read, name) != getattr(default, name)}
    assert differing == {"sidecar_host"}


def test_a_setting_that_is_null_is_left_to_the_worker(tmp_path: Path) -> None:
    assert _file(tmp_path, minimal(settings={"bucket": None, "s3_region": None})).bucket is None


@pytest.mark.parametrize("seconds", [0.5, 25, 90.5, 3600])
def test_a_pod_is_not_killed_while_its_worker_drains(seconds: float) -> None:
    worker = render(minimal(settings={"stop_timeout": seconds})).one("Deployment", "worker")
    assert pod(worker)["terminationGracePeriodSeconds"] == math.ceil(seconds) + STOP_MARGIN_SECONDS


@pytest.mark.parametrize("name", VALUE_FILES)
def test_workers_and_exporter_are_probed_by_their_health_pages(name: str) -> None:
    port = values_of(name).get("settings", {}).get("sidecar_port", 9191)
    for workload in rendered(name).of("Deployment"):
        one = container(workload)
        assert one["ports"] == [{"name": "sidecar", "containerPort": port, "protocol": "TCP"}]
        assert one["args"] == [one["name"]]
        assert (
            one["startupProbe"]["httpGet"] == one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "sidecar"}
        )
        assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "sidecar"}
        assert one["readinessProbe"]["timeoutSeconds"] > 5, "the page asks Redis for five seconds"
    for service in rendered(name).of("Service"):
        (only,) = service["spec"]["ports"]
        assert only["port"] == (6379 if only["name"] == "valkey" else port)


def test_a_release_replaces_no_worker_before_a_new_one_is_ready() -> None:
    for workload in rendered("minimal").of("Deployment"):
        assert workload["spec"]["strategy"]["type"] == "RollingUpdate"
        assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def _annotations(values: Object) -> Object:
    found: Object = render(values).one("Deployment", "worker")["spec"]["template"]["metadata"]["annotations"]
    return found


@pytest.mark.parametrize(
    "more",
    [
        {"settings": {"batch_max_items": 30}},
        {"redis": {"url": "redis://another.example/0"}},
        {"redis": {"url": ""}, "valkey": {"enabled": True, "password": "another-password"}},
    ],
    ids=str,
)
def test_a_change_of_settings_or_of_redis_rolls_the_pods(more: Object) -> None:
    assert _annotations(minimal()) == _annotations(minimal(worker={"replicas": 5}))
    assert _annotations(minimal()) != _annotations(minimal(**more))


def test_secrets_are_in_secrets_alone() -> None:
    for name, secrets in {
        "everything": ("p%40ss", "not/a+real=secret"),
        "valkey": ("not-a-real-password", "not/a+real=secret"),
    }.items():
        release = rendered(name)
        for one in release.objects:
            for secret in secrets:
                assert one["kind"] == "Secret" or secret not in str(one), one["metadata"]["name"]
        assert not any(secret in release.notes for secret in secrets)
        kept = "".join(str(one["stringData"]) for one in release.of("Secret"))
        assert all(secret in kept for secret in secrets)


def test_redis_is_named_by_a_secret_that_is_there_already_or_was_made() -> None:
    irsa, made = rendered("irsa").one("Deployment", "worker"), rendered("everything")
    assert env(irsa)["PENSTOCK_REDIS_URL"]["valueFrom"] == {"secretKeyRef": {"name": "elasticache", "key": "url"}}
    reference = env(made.one("Deployment", "worker"))["PENSTOCK_REDIS_URL"]["valueFrom"]["secretKeyRef"]
    assert made.one("Secret", reference["name"])["stringData"][reference["key"]].startswith("rediss://")


def test_keys_for_s3_come_by_file_or_by_variables_and_to_workers_only() -> None:
    variables = env(rendered("existing-secrets").one("Deployment", "worker"))
    assert {
        name: variables[name]["valueFrom"]["secretKeyRef"]["key"] for name in variables if name.startswith("AWS")
    } == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
    }
    for name, secret in {"credentials-file": "s3-keys", "valkey": "penstock-aws"}.items():
        worker, exporter = (rendered(name).one("Deployment", part) for part in ("worker", "exporter"))
        (volume,) = [one for one in pod(worker)["volumes"] if one["name"] == "aws"]
        assert volume["secret"] == {"secretName": secret, "items": [{"key": "credentials", "path": "credentials"}]}
        (mount,) = [one for one in container(worker)["volumeMounts"] if one["name"] == "aws"]
        assert env(worker)["AWS_SHARED_CREDENTIALS_FILE"]["value"] == f"{mount['mountPath']}/credentials"
        assert "aws" not in str(exporter["spec"]["template"]["spec"]).lower()
    assert not any(name.startswith("AWS") for name in env(rendered("irsa").one("Deployment", "worker")))


def test_a_role_is_an_annotation_of_the_service_account() -> None:
    account = rendered("irsa").one("ServiceAccount")
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].endswith(":role/penstock")
    assert pod(rendered("irsa").one("Deployment", "worker"))["serviceAccountName"] == account["metadata"]["name"]


def test_nobody_scrapes_when_nobody_is_named() -> None:
    assert rendered("credentials-file").one("NetworkPolicy", "sidecar")["spec"]["ingress"] == []
