"""What importing the package costs an application: modules, not milliseconds, because those depend on the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("boto3", "botocore", "dramatiq", "zstandard", "prometheus_client", "redis", "asyncio", "msgspec", "tomllib")
WORKER_ONLY = ("boto3", "botocore", "dramatiq", "zstandard", "prometheus_client", "penstock_worker")


def loaded_by(code: str, names: tuple[str, ...]) -> list[str]:
    script = f"import sys\n{code}\nprint(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


@pytest.mark.parametrize("code", ["import penstock", "from penstock import Producer, Write, Receipt, QueueFull"])
def test_importing_penstock_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code, HEAVY) == []


@pytest.mark.parametrize(
    "code",
    [
        "import penstock; penstock.Producer(bucket='my-bucket')",
        "from penstock import AsyncProducer; AsyncProducer(bucket='my-bucket')",
    ],
)
def test_a_producer_needs_none_of_the_workers_dependencies(code: str) -> None:
    assert loaded_by(code, (*WORKER_ONLY, "redis")) == ["redis"]


def test_every_public_name_is_there() -> None:
    code = (
        "import penstock; missing = [name for name in penstock.__all__ if not hasattr(penstock, name)]; "
        "assert not missing, missing; assert 'AsyncProducer' in dir(penstock)\n"
        "from penstock import *\nassert AsyncProducer is penstock.AsyncProducer"
    )
    assert loaded_by(code, ()) == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    import penstock

    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = penstock.NoSuchName
