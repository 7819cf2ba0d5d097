"""Celery with its default pool: a process a core, of two."""

from __future__ import annotations

from benchmarks.peers.celery_app import serve_with

PROCESSES = 2

if __name__ == "__main__":
    serve_with("prefork", PROCESSES)
