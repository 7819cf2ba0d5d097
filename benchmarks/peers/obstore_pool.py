"""obstore without a queue: the engine's limit, with as many threads as the others have."""

from __future__ import annotations

from collections.abc import Callable

import obstore
import zstandard
from obstore.store import S3Store

from benchmarks.bodies import BODY, BUCKET
from benchmarks.peers.serve import ENDPOINT_URL, Put, pool_drain, serve

ZSTD_LEVEL = 3


def obstore_put(encoding: str | None = None) -> Put:
    """One signed request a PUT, with SHA-256 over the body, as Penstock sends them."""
    store = S3Store(
        BUCKET,
        endpoint=ENDPOINT_URL,
        region="us-east-1",
        access_key_id="testing",
        secret_access_key="testing",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
        checksum_algorithm="SHA256",
    )
    attributes = {"Content-Type": "application/json"} | ({"Content-Encoding": encoding} if encoding else {})
    return lambda key, body: obstore.put(store, key, body, attributes=attributes, use_multipart=False)


def drain_verb() -> Callable[..., float]:
    """``drain(count, size, compress)``: with ``compress`` all bodies are compressed before the clock starts."""
    plain, compressed = obstore_put(), obstore_put("zstd")

    def drain(count: int, size: int = BODY, compress: bool = False) -> float:
        if not compress:
            return pool_drain(plain)(count, size)
        return pool_drain(compressed, zstandard.ZstdCompressor(ZSTD_LEVEL).compress)(count, size)

    return drain


if __name__ == "__main__":
    serve(drain=drain_verb())
