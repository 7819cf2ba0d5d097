"""What looks after a host's spool: the exporter's gauges, the doctor's verdicts, and the flush that empties it."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from penstock import Producer
from penstock.settings import ByteSize
from penstock.spool.append import Spool
from penstock.spool.clock import Moment, boot_id
from penstock.spool.rows import Origin
from penstock.values import Write
from penstock_worker.doctor.base import Finding, Status
from penstock_worker.doctor.site import Site
from penstock_worker.doctor.spool_checks import OLD, spool
from penstock_worker.settings import WorkerSettings
from penstock_worker.spool_gauges import SpoolCollector
from tests.support.prepared import prepare_put
from tests.support.producers import Seen
from tests.support.worker import BUCKET, WorkerProcess, environment, run_command

pytestmark = pytest.mark.integration

NO_S3 = "http://127.0.0.1:1"


def append(directory: Path, queue: str, *keys: str, age: float = 0.0) -> None:
    """Writes that wait since so many seconds, and nobody who sends them."""
    now = Moment.now()
    at = Moment(boot_id(), now.uptime - int(age * 1e6), now.wall - int(age * 1e6))
    held = Spool(str(directory), queue, 1 << 20, 5.0)
    for key in keys:
        write = prepare_put(Write(key=key, body=b"body"), BUCKET, "normal", 100, b"")
        held.append([[write]], Origin(0, 1, at, 0, "memory"), None)
    held.close()


def examined(directory: Path | None, *, limit: int = 1 << 20) -> Finding:
    settings = WorkerSettings(spool=None if directory is None else str(directory), spool_max_bytes=ByteSize(limit))
    found = spool(Site(settings))
    assert bool(found.remedy) == (found.status in (Status.WARNING, Status.BROKEN))
    return found


def test_the_exporter_shows_the_hosts_spool(redis_url: str, queue_name: str, tmp_path: Path) -> None:
    append(tmp_path, queue_name, "a", "b", age=60)
    (tmp_path / f"{queue_name}.spool.aside-1").touch()
    options: dict[str, object] = {"spool": tmp_path, "spool_max_bytes": 12345}
    with WorkerProcess(redis_url, NO_S3, queue_name, command="exporter", **options) as exporter:
        metrics = exporter.metrics()
        assert metrics.value("penstock_spool_readable") == 1
        assert metrics.value("penstock_spool_writes") == 2
        assert metrics.value("penstock_spool_bytes") > 1000
        assert metrics.value("penstock_spool_limit_bytes") == 12345
        assert metrics.value("penstock_spool_oldest_age_seconds") >= 60
        assert metrics.value("penstock_spool_files_aside") == 1
        env = environment(redis_url, NO_S3, queue_name, options)
        assert run_command("spool", "flush", env=env).returncode == 0
        metrics = exporter.metrics()
        assert metrics.value("penstock_spool_writes") == metrics.value("penstock_spool_oldest_age_seconds") == 0
        assert metrics.value("penstock_spool_replayed_writes_total") == 2
        assert metrics.value("penstock_spool_superseded_writes_total") == 0
        (tmp_path / f"{queue_name}.spool").write_bytes(b"this is no database at all, but a text\n" * 100)
        metrics = exporter.metrics()
        assert metrics.value("penstock_spool_readable") == 0
        assert "penstock_spool_writes" not in metrics.families


def test_without_a_spool_the_exporter_shows_none(redis_url: str, queue_name: str) -> None:
    with WorkerProcess(redis_url, NO_S3, queue_name, command="exporter") as exporter:
        assert not [name for name in exporter.metrics().families if name.startswith("penstock_spool")]


def test_a_flush_sends_everything_in_order_and_a_newer_write_stays(
    redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    append(tmp_path, queue_name, "a", "b", "a", "old", age=60)
    with Producer(redis_url, queue=queue_name, bucket=BUCKET) as producer:
        producer.put("old", b"newer")
    env = environment(redis_url, NO_S3, queue_name, {"spool": tmp_path})
    done = run_command("spool", "flush", "--json", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = json.loads(done.stdout)
    assert [shown[name] for name in ("writes", "bytes", "oldest_age_seconds", "replayed", "superseded")] == [
        0,
        0,
        None,
        4,
        1,
    ]
    with closing(Seen(redis_url, queue_name)) as seen:
        records = seen.records()
        assert {name: bytes(one.body or b"") for name, one in records.items()} == {
            f"{BUCKET}/a": b"body", f"{BUCKET}/b": b"body", f"{BUCKET}/old": b"newer",
        }  # fmt: skip
        assert records[f"{BUCKET}/a"].seq > records[f"{BUCKET}/b"].seq
        assert seen.accepted() == 4
    again = run_command("spool", "flush", env=env)
    assert again.returncode == 0
    assert b"0 writes are left" in again.stdout


def test_the_doctor_judges_a_spool_by_its_age_its_size_and_what_was_set_aside(tmp_path: Path) -> None:
    assert examined(None).status is Status.SKIPPED
    assert examined(tmp_path / "not there yet").status is Status.OK
    append(tmp_path, "default", "young")
    assert examined(tmp_path).status is Status.OK
    (tmp_path / "default.spool.aside-1").touch()
    aside = examined(tmp_path)
    assert aside.status is Status.WARNING
    assert "default.spool.aside-1" in aside.found
    full = examined(tmp_path, limit=600)
    assert full.status is Status.BROKEN
    assert "refused" in full.remedy


def test_the_doctor_warns_of_an_old_spool_and_names_the_way_out(tmp_path: Path) -> None:
    append(tmp_path, "default", "old", age=OLD + 1)
    append(tmp_path, "default", "young")
    old = examined(tmp_path)
    assert old.status is Status.WARNING
    assert old.found.startswith("2 writes")
    assert "penstock spool flush" in old.remedy


def test_the_doctor_finds_a_directory_without_the_right_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (str(tmp_path), os.W_OK))  # root has it
    assert examined(tmp_path).status is Status.BROKEN


def test_the_doctor_looks_at_the_spool_and_one_that_it_cannot_read_is_broken(
    redis_url: str, queue_name: str, tmp_path: Path
) -> None:
    env = environment(redis_url, NO_S3, queue_name, {"spool": tmp_path})

    def judged() -> dict[str, str]:
        checks = json.loads(run_command("doctor", "--json", "--no-s3", env=env).stdout)["checks"]
        (found,) = [one for one in checks if one["check"] == "spool"]
        return dict(found)

    append(tmp_path, queue_name, "key")
    assert (judged()["status"], "1 writes" in judged()["found"]) == ("ok", True)
    (tmp_path / f"{queue_name}.spool").write_bytes(b"this is no database at all, but a text\n" * 100)
    assert judged()["status"] == "broken"
    assert "docs/spool.md" in judged()["found"] + judged()["remedy"]


def test_a_spool_that_may_not_be_looked_at_costs_the_spools_gauges_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)  # root, as which tests may run, may enter any directory
    (family,) = SpoolCollector(str(tmp_path), "a-queue", 1).collect()
    assert [(sample.name, sample.value) for sample in family.samples] == [("penstock_spool_readable", 0)]
