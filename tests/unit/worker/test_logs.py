"""What of other libraries' lines is logged, and how."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SAY = """
import logging, sys
from penstock_worker import logs
logs.configure("info", "json")
try:
    raise RuntimeError("the words of a process: s3cr3t")
except RuntimeError:
    logging.getLogger(sys.argv[1]).warning("it failed", exc_info=True)
"""


@pytest.mark.parametrize(("logger", "quotes"), [("botocore.credentials", False), ("boto3", False), ("dramatiq", True)])
def test_a_traceback_of_boto3_is_not_logged_since_it_may_quote_a_secret(logger: str, quotes: bool) -> None:
    done = subprocess.run([sys.executable, "-c", SAY, logger], capture_output=True, text=True, timeout=60, check=True)
    line = json.loads(done.stderr)
    assert line["event"] == "it failed"
    assert ("s3cr3t" in done.stderr) == quotes
