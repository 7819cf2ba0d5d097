from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.queue import ShiftedQueue, open_queue


@pytest.fixture
def queue(redis_url: str, queue_name: str) -> Iterator[ShiftedQueue]:
    """A queue of the test's own; when the test ends, its layout in Redis must be whole."""
    with open_queue(redis_url, queue_name) as queue:
        yield queue
