"""What tests/ops needs beyond wheels; `make test-ops` fetches it first, so a tool that is missing is a failure."""

import pytest

from tests.support.ops_tools import ops_tool


@pytest.fixture(scope="session")
def promtool() -> str:
    return ops_tool("promtool")


@pytest.fixture(scope="session")
def amtool() -> str:
    return ops_tool("amtool")
