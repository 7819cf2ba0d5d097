"""systemd/penstock.env.example from the settings: each commented out, with its default, its values and what it is.

``python -m penstock_worker.settings_env`` prints it; ``make docs`` writes it, and a test compares.
"""

from __future__ import annotations

import re

import msgspec

from penstock.settings import PREFIX
from penstock_worker.settings import WorkerSettings
from penstock_worker.settings_page import describe

HEAD = """\
# Penstock's settings for systemd: copy this to /etc/penstock/penstock.env and uncomment what should differ.
# Made from the code by `make docs`. All lines are valid together as they stand; what is unset by default shows an
# example. Secrets, such as a redis_url with a password, belong into /etc/credstore/penstock.toml instead, where the
# names are in lower case without the prefix. `systemctl restart penstock.target` takes changes over.
"""

_EXAMPLES = {
    "bucket": "my-bucket",
    "spool": "/var/lib/penstock/spool",
    "allowed_buckets": "my-bucket,my-other-bucket",
    "s3_endpoint_url": "https://s3.example.com",
    "s3_region": "eu-central-1",
    "s3_sse": "aws:kms",
    "s3_kms_key_id": "alias/penstock",
    "s3_expected_owner": "123456789012",
}
"""Of settings that are unset by default. All of them together are valid."""

_NOTES = {
    "redis_url": "with a password: redis_url in /etc/credstore/penstock.toml",
    "sidecar_port": "under systemd the units set it, from SIDECAR_PORT_BASE",
    "stop_timeout": "the unit's TimeoutStopSec= needs no change",
    "memory_budget": "raise the unit's MemoryMax= with it",
}
"""What only an operator of the units has to know."""


_LINK = re.compile(r"\[[^]]*\]\(([^)]*)\)")


def example() -> str:
    """The whole file."""
    return HEAD + "".join(_entry(field) for field in msgspec.structs.fields(WorkerSettings))


def _entry(field: msgspec.structs.FieldInfo) -> str:
    known = describe(field)
    text = known.text + (f"; {_NOTES[field.name]}" if field.name in _NOTES else "")
    about = f"{text} ({known.values}; default: {known.default or 'unset'})".replace("`", "")
    about = _LINK.sub(r"docs/\1", about)
    value = _EXAMPLES[field.name] if field.default is None else known.default
    return f"\n# {about}\n#{PREFIX}{field.name.upper()}={value}\n"


if __name__ == "__main__":
    print(example(), end="")
