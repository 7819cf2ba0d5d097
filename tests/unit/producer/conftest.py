from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.calls import Options
from penstock.group_commit import GroupCommit
from tests.support.held_channel import LONG, HeldChannel, Made


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    def make(timeout: float = LONG) -> tuple[GroupCommit, HeldChannel]:
        monkeypatch.setattr("penstock.group_commit.Channel", HeldChannel)
        commit = GroupCommit(Options("redis://h", "queue", "bucket", timeout, 1000, ()))
        channel = commit._channel
        assert isinstance(channel, HeldChannel)
        return commit, channel

    return make
