"""What a bucket is called in a metric, so that there are never more series than an allow-list names, or 51."""

from __future__ import annotations

import threading

OTHER = "other"
MOST_SEEN = 50


class BucketLabels:
    """Labels of one process. Safe to share between threads.

    Args:
        allowed: the worker's allow-list, whose buckets have labels of their own; None: the first 50 that are seen.
    """

    def __init__(self, allowed: frozenset[str] | None) -> None:
        self._closed = allowed is not None
        self._known = set(allowed or ())
        self._lock = threading.Lock()

    def label(self, bucket: str) -> str:
        with self._lock:
            if bucket not in self._known:
                if self._closed or len(self._known) >= MOST_SEEN:
                    return OTHER
                self._known.add(bucket)
            return bucket
