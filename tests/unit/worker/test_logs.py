"""What of other libraries' lines is logged, and how."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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


FAIL = """
import sys
from penstock_worker import failures, logs
from penstock_worker.stores import PutRequest
logs.configure("info", sys.argv[1])

def upload(request):
    raise RuntimeError("a bug")

try:
    upload(PutRequest(bucket="b", key="k", body=b"patient=Jane"))
except RuntimeError as error:
    failures.crash(error)
print("went on")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_variables_which_hold_bodies_and_credentials(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", FAIL, form], capture_output=True, text=True, timeout=60, check=True)
    assert "upload_crashed" in done.stderr
    assert "a bug" in done.stderr
    assert "Jane" not in done.stderr


@pytest.mark.parametrize("form", ["json", "console"])
def test_lines_that_cannot_be_written_are_lost_and_nothing_else(form: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", FAIL, form], stdout=subprocess.PIPE, stderr=full, text=True, timeout=60
        )
    assert done.stdout == "went on\n"
