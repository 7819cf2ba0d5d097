"""The boto3 client of all peers that send by boto3."""

from __future__ import annotations

import boto3
from botocore.config import Config

from benchmarks.bodies import BUCKET
from benchmarks.peers.serve import ENDPOINT_URL, THREADS, Put


def boto3_put() -> Put:
    """A client is safe to share between threads, as boto3's guide says; it gets a connection for each of them."""
    config = Config(max_pool_connections=THREADS, s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=ENDPOINT_URL, config=config)

    def put(key: str, body: bytes) -> object:
        return client.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="application/json")

    return put
