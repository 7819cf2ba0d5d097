"""Celery with its pool of threads."""

from __future__ import annotations

from benchmarks.peers.celery_app import serve_with
from benchmarks.peers.serve import THREADS

if __name__ == "__main__":
    serve_with("threads", THREADS)
