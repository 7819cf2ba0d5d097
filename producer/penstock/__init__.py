"""Penstock: a durable write-behind queue for S3. This package is what applications import.

    from penstock import Producer

    producer = Producer("redis://localhost:6379/0", bucket="my-bucket")
    producer.put("reports/42.json", body)

Importing it pulls in neither boto3 nor dramatiq, and redis and asyncio only when a producer is made.
"""

from typing import TYPE_CHECKING

from penstock.errors import (
    InvalidSetting,
    InvalidWrite,
    NotDurable,
    PenstockError,
    QueueFull,
    QueueMismatch,
    QueueUnavailable,
    WaitTimeout,
)
from penstock.producer import Producer
from penstock.values import Receipt, WaitResult, Write

if TYPE_CHECKING:
    from penstock.aio import AsyncProducer

__version__ = "0.1.0"

__all__ = [
    "AsyncProducer",
    "InvalidSetting",
    "InvalidWrite",
    "NotDurable",
    "PenstockError",
    "Producer",
    "QueueFull",
    "QueueMismatch",
    "QueueUnavailable",
    "Receipt",
    "WaitResult",
    "WaitTimeout",
    "Write",
]


def __getattr__(name: str) -> object:
    # asyncio costs more than all the rest of this package; who uses threads only need not load it.
    if name == "AsyncProducer":
        from penstock.aio import AsyncProducer

        globals()[name] = AsyncProducer
        return AsyncProducer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
