"""Producers that write on and on, and remember what was accepted: each accepted write is an obligation."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from penstock import Producer, QueueUnavailable
from tests.support.memory_s3 import Stored
from tests.support.worker import BUCKET

PACE = 0.001  # seconds between two writes of a producer, so that the machine has time for the others
SHARED_KEYS = 40
"""Every other write of a producer is to one of these: they coalesce, and come again while an older one is in flight."""
END_LIMIT = 60.0
PAD = 500  # bytes


class _Writer(threading.Thread):
    """One producer, whose keys are its own, so that it knows the order of their versions."""

    def __init__(self, number: int, url: str, queue: str, ended: threading.Event) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self._number = number
        self._producer = Producer(url, queue=queue, bucket=BUCKET, timeout=2.0)
        self._ended = ended
        self.accepted: dict[str, int] = {}
        self.attempted: dict[str, set[int]] = {}
        self.count = 0
        self.refused = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        version = 0
        try:
            while not self._ended.wait(PACE):
                version += 1
                self._write(version)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._producer.close()

    def _write(self, version: int) -> None:
        own = version % 2 == 0
        key = f"{self._number}/{'own' if own else 'shared'}/{version if own else version // 2 % SHARED_KEYS}"
        self.attempted.setdefault(key, set()).add(version)
        try:
            self._producer.put(key, f"{key} {version} ".encode() + b"." * PAD)
        except QueueUnavailable:
            self.refused += 1
        else:
            self.accepted[key] = version
            self.count += 1


class Load:
    """Writes from several producers between entering and `stop`."""

    def __init__(self, url: str, queue: str, producers: int = 2) -> None:
        self._ended = threading.Event()
        self._writers = [_Writer(number, url, queue, self._ended) for number in range(producers)]

    @property
    def accepted(self) -> int:
        return sum(writer.count for writer in self._writers)

    @property
    def refused(self) -> int:
        """Calls that ended with QueueUnavailable: their writes may be in the queue or not."""
        return sum(writer.refused for writer in self._writers)

    def stop(self) -> None:
        self._ended.set()
        for writer in self._writers:
            writer.join(END_LIMIT)
            assert writer.failure is None, writer.failure

    def check(self, objects: Mapping[tuple[str, str], Stored]) -> None:
        """Of each key there is the last accepted version, or one attempted later; nothing else, and whole."""
        expected: set[str] = set()
        for writer in self._writers:
            for key, version in writer.accepted.items():
                expected.add(key)
                found = objects.get((BUCKET, key))
                assert found is not None, f"{key}: version {version} was accepted and is lost"
                stored_key, stored_version, rest = found.body.split(b" ", 2)
                assert stored_key.decode() == key
                assert rest == b"." * PAD
                assert int(stored_version) >= version, f"{key}: an older version was stored last"
                assert int(stored_version) in writer.attempted[key]
        attempted = {key for writer in self._writers for key in writer.attempted}
        stored = {key for _, key in objects}
        assert stored <= attempted
        assert expected <= stored

    def __enter__(self) -> Self:
        for writer in self._writers:
            writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
