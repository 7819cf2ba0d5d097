from __future__ import annotations

from pathlib import Path

import pytest

from penstock import InvalidSetting
from penstock.settings import ByteSize, ProducerSettings, load_settings


def load(environ: dict[str, str], *, strict: bool = False, known: frozenset[str] = frozenset()) -> ProducerSettings:
    return load_settings(ProducerSettings, environ, strict=strict, known=known)


def config(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "penstock.toml"
    path.write_text(text, encoding="utf-8")
    return {"PENSTOCK_CONFIG": str(path)}


def test_without_anything_the_defaults_hold() -> None:
    settings = load({"PATH": "/bin", "OTHER_BUCKET": "x"}, strict=True)
    assert settings == ProducerSettings()
    assert (settings.redis_url, settings.queue, settings.bucket) == ("redis://localhost:6379/0", "default", None)
    assert (settings.max_body_bytes, settings.producer_timeout) == (16 * 1024**2, 2.0)


def test_the_environment_sets_every_setting() -> None:
    environ = {
        "PENSTOCK_REDIS_URL": "rediss://redis:1/2",
        "PENSTOCK_QUEUE": "reports",
        "PENSTOCK_BUCKET": "my-bucket",
        "PENSTOCK_MAX_BODY_BYTES": "1MiB",
        "PENSTOCK_PRODUCER_TIMEOUT": "0.5",
    }
    assert load(environ, strict=True) == ProducerSettings(
        redis_url="rediss://redis:1/2",
        queue="reports",
        bucket="my-bucket",
        max_body_bytes=ByteSize(1024**2),
        producer_timeout=0.5,
    )


def test_the_file_sets_and_the_environment_wins(tmp_path: Path) -> None:
    environ = config(tmp_path, 'queue = "file"\nbucket = "file-bucket"\nproducer_timeout = 3\nmax_body_bytes = 4096\n')
    settings = load({**environ, "PENSTOCK_QUEUE": "env"}, strict=True)
    assert (settings.queue, settings.bucket, settings.producer_timeout) == ("env", "file-bucket", 3.0)
    assert settings.max_body_bytes == 4096


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    environ = config(tmp_path, 'bucket = "file-bucket"\n')
    assert load({**environ, "PENSTOCK_BUCKET": ""}).bucket == "file-bucket"
    assert load({"PENSTOCK_BUCKET": "", "PENSTOCK_CONFIG": ""}).bucket is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("1048576", 1048576), ("512KiB", 524288), ("1 mib", 1048576), ("2G", 2 * 1024**3)),
        *(("3kb", 3072), ("7b", 7), (" 64MiB ", 64 * 1024**2)),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    assert load({"PENSTOCK_MAX_BODY_BYTES": text}).max_body_bytes == size


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        *(("PENSTOCK_MAX_BODY_BYTES", text, "64MiB") for text in ("much", "-1", "1.5MiB", "MiB", "1TiB", "9" * 5000)),
        *(("PENSTOCK_PRODUCER_TIMEOUT", text, "float") for text in ("soon", "0", "-1", "nan", "inf", "301", "2s")),
        *(("PENSTOCK_QUEUE", text, "regex") for text in ("a b", "a{b}", "q" * 65, "ü", "queue\n")),
    ],
)
def test_a_bad_value_names_its_variable_and_what_is_expected(variable: str, text: str, expected: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{variable}=.*{expected}"):
        load({variable: text})


@pytest.mark.parametrize(
    "line", ["max_body_bytes = true", "max_body_bytes = 1.5", 'producer_timeout = "x"', "queue = 7"]
)
def test_a_bad_value_in_the_file_names_setting_and_file(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"^{line.split()[0]} in .*penstock\.toml="):
        load(config(tmp_path, line))


def test_a_bad_url_setting_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(config(tmp_path, 'redis_url = ["redis://:s3cr3t@host"]'))
    assert "redis_url" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"PENSTOCK_CONFIG: cannot read .*missing\.toml"):
        load({"PENSTOCK_CONFIG": str(tmp_path / "missing.toml")})
    with pytest.raises(InvalidSetting, match="PENSTOCK_CONFIG: cannot read"):
        load(config(tmp_path, "queue = "))
    (tmp_path / "penstock.toml").write_bytes(b"queue = '\xff'")
    with pytest.raises(InvalidSetting, match="PENSTOCK_CONFIG: cannot read"):
        load({"PENSTOCK_CONFIG": str(tmp_path / "penstock.toml")})


def test_strict_refuses_an_unknown_name_and_names_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="PENSTOCK_QUEU is no setting"):
        load({"PENSTOCK_QUEU": "x"}, strict=True)
    with pytest.raises(InvalidSetting, match="PENSTOCK_QUEU is no setting"):
        load({"PENSTOCK_QUEU": ""}, strict=True)
    with pytest.raises(InvalidSetting, match=r"queu in .*penstock\.toml is no setting"):
        load(config(tmp_path, 'queu = "x"'), strict=True)


def test_a_producer_overlooks_what_is_the_workers(tmp_path: Path) -> None:
    environ = config(tmp_path, "upload_concurrency = 3")
    assert load({**environ, "PENSTOCK_LEASE_SECONDS": "nonsense"}) == ProducerSettings()
    assert load(environ, strict=True, known=frozenset({"upload_concurrency"})) == ProducerSettings()


KUBERNETES = {
    # A Service called penstock-metrics, and one called penstock.
    **{f"PENSTOCK_METRICS_{name}": "10.0.0.1" for name in ("SERVICE_HOST", "PORT_9191_TCP_ADDR")},
    **{f"PENSTOCK_METRICS_{name}": "9191" for name in ("SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_9191_TCP_PORT")},
    **{f"PENSTOCK_METRICS_{name}": "tcp://10.0.0.1:9191" for name in ("PORT", "PORT_9191_TCP")},
    "PENSTOCK_METRICS_PORT_9191_TCP_PROTO": "tcp",
    "PENSTOCK_SERVICE_HOST": "10.0.0.2",
    "PENSTOCK_SERVICE_PORT": "80",
    "PENSTOCK_PORT": "tcp://10.0.0.2:80",
    "PENSTOCK_PORT_80_TCP": "tcp://10.0.0.2:80",
    "PENSTOCK_PORT_80_TCP_PORT": "80",
}


@pytest.mark.parametrize("variable", KUBERNETES)
def test_what_kubernetes_injects_is_ignored(variable: str) -> None:
    assert load({variable: KUBERNETES[variable]}, strict=True) == ProducerSettings()


class WithPort(ProducerSettings, frozen=True, kw_only=True):
    sidecar_port: int = 9191


def test_a_service_whose_name_meets_a_setting_does_not_set_it() -> None:
    injected = {"PENSTOCK_SIDECAR_PORT": "tcp://10.0.0.1:9191"}
    assert load_settings(WithPort, injected, strict=True).sidecar_port == 9191
    assert load_settings(WithPort, {"PENSTOCK_SIDECAR_PORT": "8000"}, strict=True).sidecar_port == 8000


@pytest.mark.parametrize("variable", ["PENSTOCK_SIDECAR_PORTS", "PENSTOCK_SUPPORT", "PENSTOCK_EXPORT_PORT"])
def test_a_misspelt_port_is_not_taken_for_kubernetes(variable: str) -> None:
    with pytest.raises(InvalidSetting, match=variable):
        load({variable: "9191"}, strict=True)


def test_an_address_in_a_misspelt_name_is_not_taken_for_kubernetes() -> None:
    with pytest.raises(InvalidSetting, match="PENSTOCK_SUPPORT_URL"):
        load({"PENSTOCK_SUPPORT_URL": "https://example.com"}, strict=True)
