"""The worker's settings: what is documented is the default, and every bad value is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock import InvalidSetting
from penstock_worker import settings_page
from penstock_worker.settings import read_settings, setting_names

MIB = 1024 * 1024
SETTINGS_PAGE = Path(__file__).parents[3] / "docs" / "settings.md"

DOCUMENTED = {
    "queue": "default",
    "bucket": None,
    "allowed_buckets": None,
    "s3_addressing": "auto",
    "s3_engine": "obstore",
    "batch_max_items": 50,
    "batch_max_bytes": 8 * MIB,
    "batch_max_wait": 1.5,
    "upload_concurrency": 12,
    "upload_concurrency_max": 128,
    "memory_budget": 64 * MIB,
    "max_attempts": 8,
    "lease_seconds": 15,
    "request_timeout": 5,
    "min_bytes_per_second": MIB,
    "stop_timeout": 25,
    "sidecar_host": "127.0.0.1",
    "sidecar_port": 9191,
    "log_format": "json",
}

BAD = {
    "QUEUE": ("a queue", "x" * 65, "a{b}"),
    "S3_ADDRESSING": ("paths",),
    "S3_ENGINE": ("minio",),
    "S3_SSE": ("AES128",),
    "S3_EXPECTED_OWNER": ("me", "1234"),
    "BATCH_MAX_ITEMS": ("0", "1001", "ten", "1.5"),
    "BATCH_MAX_BYTES": ("0", "-1", "8 parsecs", "1.5MiB"),
    "BATCH_MAX_WAIT": ("-1", "soon", "3601", "nan", "inf"),
    "UPLOAD_CONCURRENCY": ("0", "-3", "129"),
    "UPLOAD_CONCURRENCY_MAX": ("0", "11", "1001"),
    "MEMORY_BUDGET": ("1", "all"),
    "MAX_ATTEMPTS": ("0", "201", "forever"),
    "LEASE_SECONDS": ("0", "0.5", "601", "nan"),
    "REQUEST_TIMEOUT": ("0", "601", "nan"),
    "MIN_BYTES_PER_SECOND": ("0", "fast"),
    "STOP_TIMEOUT": ("0", "-1", "nan", "never"),
    "SIDECAR_PORT": ("-1", "65536", "http"),
    "LOG_LEVEL": ("loud",),
    "LOG_FORMAT": ("xml",),
    "MAX_BODY_BYTES": ("much",),
    "PRODUCER_TIMEOUT": ("0", "nan"),
}


def test_the_defaults_are_the_documented_ones() -> None:
    settings = read_settings({})
    assert {name: getattr(settings, name) for name in DOCUMENTED} == DOCUMENTED


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"PENSTOCK_{name}"):
        read_settings({f"PENSTOCK_{name}": value})


@pytest.mark.parametrize("name", ["PENSTOCK_BATCH_MAX_ITEM", "PENSTOCK_DEBUG", "PENSTOCK_"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        read_settings({name: "1"})


def test_an_unknown_name_in_the_file_is_refused_with_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text("batch_max_item = 1\n")
    with pytest.raises(InvalidSetting, match="batch_max_item"):
        read_settings({"PENSTOCK_CONFIG": str(path)})
    path.write_text("batch_max_items = 0\n")
    with pytest.raises(InvalidSetting, match=r"batch_max_items in .*penstock\.toml"):
        read_settings({"PENSTOCK_CONFIG": str(path)})
    path.write_text("batch_max_items = \n")
    with pytest.raises(InvalidSetting, match="PENSTOCK_CONFIG"):
        read_settings({"PENSTOCK_CONFIG": str(path)})


def test_values_are_taken_from_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    path = tmp_path / "penstock.toml"
    path.write_text('batch_max_items = 7\nmemory_budget = "16MiB"\nlease_seconds = 30\n')
    settings = read_settings({"PENSTOCK_CONFIG": str(path), "PENSTOCK_LEASE_SECONDS": "20"})
    assert (settings.batch_max_items, settings.memory_budget, settings.lease_seconds) == (7, 16 * MIB, 20)


def test_what_kubernetes_injects_for_a_service_is_ignored() -> None:
    injected = {
        "PENSTOCK_SIDECAR_PORT": "tcp://10.0.0.1:9191",
        "PENSTOCK_WORKER_SERVICE_HOST": "10.0.0.1",
        "PENSTOCK_WORKER_SERVICE_PORT": "9191",
        "PENSTOCK_WORKER_PORT_9191_TCP_ADDR": "10.0.0.1",
    }
    assert read_settings(injected) == read_settings({})


def test_the_key_id_of_kms_needs_encryption_by_kms() -> None:
    with pytest.raises(InvalidSetting, match="PENSTOCK_S3_KMS_KEY_ID"):
        read_settings({"PENSTOCK_S3_KMS_KEY_ID": "key"})
    with pytest.raises(InvalidSetting, match="PENSTOCK_S3_KMS_KEY_ID"):
        read_settings({"PENSTOCK_S3_KMS_KEY_ID": "key", "PENSTOCK_S3_SSE": "AES256"})
    assert read_settings({"PENSTOCK_S3_KMS_KEY_ID": "key", "PENSTOCK_S3_SSE": "aws:kms"}).s3_kms_key_id == "key"


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(InvalidSetting, match="PENSTOCK_SIDECAR_PORT") as caught:
        read_settings({"PENSTOCK_REDIS_URL": "redis://:secret@host/0", "PENSTOCK_SIDECAR_PORT": "x"})
    assert "secret" not in str(caught.value)


def test_without_a_list_any_bucket_is_allowed_and_with_one_only_those() -> None:
    assert read_settings({}).allows("any")
    settings = read_settings({"PENSTOCK_ALLOWED_BUCKETS": "one, two ,,"})
    assert [settings.allows(name) for name in ("one", "two", "three", "")] == [True, True, False, False]


def test_the_settings_page_is_what_the_code_says() -> None:
    assert SETTINGS_PAGE.read_text(encoding="utf-8") == settings_page.page(), "run `make docs`"


def test_every_setting_is_on_the_page_with_a_description_and_its_values() -> None:
    rows = [line.strip("| ").split(" | ") for line in settings_page.page().splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows] == [f"`PENSTOCK_{name.upper()}`" for name in setting_names()]
    assert all(len(row) == 4 and row[2] and row[3] for row in rows)
    by_name = {row[0].strip("`"): row for row in rows}
    assert by_name["PENSTOCK_MEMORY_BUDGET"][1:3] == ["`64MiB`", "size"]
    assert by_name["PENSTOCK_MAX_ATTEMPTS"][1:3] == ["`8`", "1 to 200"]
    assert by_name["PENSTOCK_STOP_TIMEOUT"][1:3] == ["`25`", "above 0 to 86400"]
    assert by_name["PENSTOCK_S3_ENGINE"][1:3] == ["`obstore`", "`obstore`, `boto3`"]
    assert by_name["PENSTOCK_ALLOWED_BUCKETS"][1:3] == ["any", "text"]


def test_every_setting_has_a_name_in_the_environment() -> None:
    assert "redis_url" in setting_names()
    assert set(DOCUMENTED) <= set(setting_names())
