"""boto3 without a queue: twelve threads that share a client. Its enqueue is the upload itself."""

from __future__ import annotations

from benchmarks.peers.s3 import boto3_put
from benchmarks.peers.serve import enqueue_verb, pool_drain, serve

if __name__ == "__main__":
    put = boto3_put()
    serve(enqueue=enqueue_verb(put), drain=pool_drain(put))
