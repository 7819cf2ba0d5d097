"""Object-store engines behind one small protocol. Only this folder knows S3's errors."""

from __future__ import annotations

from penstock_worker.stores.base import (
    Addressing,
    Check,
    Engine,
    ErrorClass,
    ObjectInfo,
    PutRequest,
    Store,
    StoreConfig,
    StoreFault,
)
from penstock_worker.stores.faults import classify, label_code

__all__ = [
    "Addressing",
    "Check",
    "Engine",
    "ErrorClass",
    "ObjectInfo",
    "PutRequest",
    "Store",
    "StoreConfig",
    "StoreFault",
    "classify",
    "label_code",
    "open_store",
]


def open_store(engine: Engine, config: StoreConfig) -> Store:
    """A store by that engine, for this process alone: open it after a fork. Sends nothing.

    Raises ValueError when ``config`` is one that no client can be made with.
    """
    # boto3 takes half a second to import, which commands that only speak to Redis need not pay.
    if engine == "obstore":
        from penstock_worker.stores.object_store import ObstoreStore

        return ObstoreStore(config)
    from penstock_worker.stores.boto import BotoStore

    return BotoStore(config)
