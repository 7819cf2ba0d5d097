"""dramatiq by its own defaults: a worker process a core, with eight threads each."""

from __future__ import annotations

from benchmarks.peers.dramatiq_actor import serve_with

if __name__ == "__main__":
    serve_with()
